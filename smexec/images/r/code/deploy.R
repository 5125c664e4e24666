# An example, to be changed: serves the model of train.R. {"length": 0.5, "sex": "M"} is answered with
# {"output": 9.3}, and rows, as JSON or CSV, with as many numbers.

model_fn <- function(model_dir) readRDS(file.path(model_dir, "model.rds"))

predict_fn <- function(data, model) {
  columns <- attr(model$terms, "term.labels")
  if (!all(columns %in% names(data))) {
    if (ncol(data) != length(columns)) stop("rows must have the columns ", toString(columns))
    names(data) <- columns # rows without names
  }
  logicals <- names(which(attr(model$terms, "dataClasses") == "logical"))
  data[logicals] <- lapply(data[logicals], as.logical) # T and F in CSV are texts
  frame <- model.frame(model$terms, data, xlev = model$levels, na.action = na.pass)
  x <- model.matrix(model$terms, frame)[, -1, drop = FALSE]
  list(output = drop(scale(x, model$center, model$scale) %*% model$weights) + model$intercept)
}
