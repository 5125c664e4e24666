# An example, to be changed: predicts one column of a table from the others, by gradient descent. It goes in
# rounds, so that a job that is stopped in the middle has a model all the same.

given <- modifyList(list(target = NULL, rounds = 200, rate = 0.1), hyperparameters)
if (given$rounds < 1) stop("rounds must be at least 1, not ", given$rounds)

files <- list.files(file.path(input_dir, "train"), full.names = TRUE)
data <- do.call(rbind, lapply(files, read.csv, stringsAsFactors = TRUE))
target <- if (is.null(given$target)) tail(names(data), 1) else given$target

# Categories become columns of 0 and 1, and all columns get the same scale.
terms <- terms(reformulate(".", target), data = data)
frame <- model.frame(terms, data)
x <- scale(model.matrix(terms, frame)[, -1, drop = FALSE])
y <- model.response(frame)

weights <- numeric(ncol(x))
intercept <- mean(y)
round <- 0

# Stopping a job is what Ctrl-C is at home: an interrupt. The model so far is good enough to keep.
tryCatch(
  while (round < given$rounds) {
    error <- drop(x %*% weights) + intercept - y
    weights <- weights - given$rate * drop(crossprod(x, error)) / length(y)
    round <- round + 1
    if (log2(round) %% 1 == 0) cat(sprintf("round %d: rmse=%.4f\n", round, sqrt(mean(error^2))))
  },
  interrupt = function(condition) cat("stopped after round", round, "\n")
)

model <- list(
  terms = delete.response(attr(frame, "terms")), # which know the columns' classes
  levels = .getXlevels(terms, frame),
  center = attr(x, "scaled:center"),
  scale = attr(x, "scaled:scale"),
  weights = weights,
  intercept = intercept,
  rounds = round
)
saveRDS(model, file.path(model_dir, "model.rds"))
