# Predicts an abalone's rings, and so its age, from measurements: boosted stumps, in plain R. Each round adds
# the one split of one column that explains most of what is left.

given <- modifyList(list(rounds = 100, rate = 0.1), hyperparameters)

data <- read.csv(file.path(input_dir, "train", "abalone.csv"))
data$sex <- as.integer(factor(data$sex, levels = c("I", "F", "M")))
held_out <- seq_len(nrow(data)) %% 5 == 0
x <- as.matrix(data[!held_out, names(data) != "rings"])
y <- data$rings[!held_out]

rmse <- function(rows, predicted) sqrt(mean((data$rings[rows] - predicted)^2))

source("model.R")
model <- list(start = mean(y), stumps = list())
rest <- y - model$start
tryCatch(
  while (length(model$stumps) < given$rounds) {
    stump <- best_stump(x, rest, given$rate)
    model$stumps <- c(model$stumps, list(stump))
    rest <- rest - step_of(stump, x)
  },
  # A job that is stopped keeps the model so far.
  interrupt = function(condition) cat("stopped after", length(model$stumps), "rounds\n")
)

saveRDS(model, file.path(model_dir, "model.rds"))
predicted <- predict_rings(model, data[held_out, ])
cat(sprintf("rmse=%.4f\n", rmse(held_out, predicted)))
