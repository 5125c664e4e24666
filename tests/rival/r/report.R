# Counts rows.
processing <- "/opt/ml/processing"
rows <- nrow(read.csv(file.path(processing, "input", "data", "abalone.csv")))
writeLines(c(commandArgs(trailingOnly = TRUE), rows), file.path(processing, "output", "report.txt"))
