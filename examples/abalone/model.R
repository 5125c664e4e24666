# What train.R and deploy.R have in common. A stump: rows on one side of a split get one step, the others another.

step_of <- function(stump, x) ifelse(x[, stump$column] <= stump$split, stump$low, stump$high)

best_stump <- function(x, rest, rate) {
  candidates <- lapply(colnames(x), function(column) {
    values <- x[, column]
    splits <- unique(quantile(values, seq(0.1, 0.9, 0.1), names = FALSE))
    splits <- splits[splits < max(values)]
    gains <- vapply(splits, function(split) {
      is_low <- values <= split
      sum(rest[is_low])^2 / sum(is_low) + sum(rest[!is_low])^2 / sum(!is_low)
    }, 0)
    list(column = column, split = splits[which.max(gains)], gain = max(gains))
  })
  best <- candidates[[which.max(vapply(candidates, function(one) one$gain, 0))]]
  is_low <- x[, best$column] <= best$split
  list(
    column = best$column, split = best$split,
    low = rate * mean(rest[is_low]), high = rate * mean(rest[!is_low])
  )
}

predict_rings <- function(model, data) {
  Reduce(function(sum, stump) sum + step_of(stump, data), model$stumps, rep(model$start, nrow(data)))
}
