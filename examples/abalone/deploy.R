# Serves the model of train.R.

source("model.R")

model_fn <- function(model_dir) readRDS(file.path(model_dir, "model.rds"))

predict_fn <- function(data, model) {
  missing <- setdiff(unique(vapply(model$stumps, function(stump) stump$column, "")), names(data))
  if (length(missing)) stop("the rows lack ", toString(missing))
  if ("sex" %in% names(data)) data$sex <- as.integer(factor(data$sex, levels = c("I", "F", "M")))
  list(rings = predict_rings(model, data))
}
