model_fn <- function(model_dir) readRDS(file.path(model_dir, "model.rds"))

predict_fn <- function(data, model) list(output = model$mean * data$factor, rounds = model$rounds)
