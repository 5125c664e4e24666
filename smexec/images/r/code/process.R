# An example, to be changed: a summary of the tables in its input `data` goes to its output `out`.
# With arguments: process.R --digits 2

processing <- file.path(Sys.getenv("SMEXEC_OPT_ML", "/opt/ml"), "processing")
arguments <- commandArgs(trailingOnly = TRUE)
digits <- if (length(arguments) == 2 && arguments[1] == "--digits") as.integer(arguments[2]) else 4

for (file in list.files(file.path(processing, "input", "data"), full.names = TRUE)) {
  numbers <- Filter(is.numeric, read.csv(file))
  summary <- data.frame(column = names(numbers), mean = signif(colMeans(numbers), digits))
  write.csv(summary, file.path(processing, "output", "out", basename(file)), row.names = FALSE)
}
