arguments <- commandArgs(trailingOnly = TRUE)
values <- read.csv(file.path(opt_ml, "processing", "input", "data", "values.csv"))
writeLines(paste(arguments[1], sum(values)), file.path(opt_ml, "processing", "output", "report.txt"))
