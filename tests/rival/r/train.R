# A model of rings by length: a line, given how many measurements to take.
data <- read.csv(file.path(opt_ml, "input", "data", "train", "abalone.csv"))
data <- head(data, hyperparameters$rows)
model <- lm(rings ~ length, data)
cat(sprintf("rmse=%.3f;\n", sqrt(mean(residuals(model)^2))))

model_dir <- file.path(opt_ml, "model")
saveRDS(coef(model), file.path(model_dir, "model.rds"))
dir.create(file.path(model_dir, "code"), showWarnings = FALSE)
file.copy("deploy.R", file.path(model_dir, "code"), overwrite = TRUE)
