# An example, to be changed: a summary of the tables in one directory goes to another.
# With arguments: process.R --digits 2

arguments <- commandArgs(trailingOnly = TRUE)
digits <- if (length(arguments) == 2 && arguments[1] == "--digits") as.integer(arguments[2]) else 4

for (file in list.files(file.path(opt_ml, "processing", "input", "data"), full.names = TRUE)) {
  numbers <- Filter(is.numeric, read.csv(file))
  summary <- data.frame(column = names(numbers), mean = signif(colMeans(numbers), digits))
  write.csv(summary, file.path(opt_ml, "processing", "output", basename(file)), row.names = FALSE)
}
