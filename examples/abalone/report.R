# A report on the data: how many animals there are of each sex, and how many rings they have.
# report.R --digits 2

arguments <- commandArgs(trailingOnly = TRUE)
digits <- if (length(arguments) == 2) as.integer(arguments[2]) else 1

processing <- file.path(Sys.getenv("SMEXEC_OPT_ML", "/opt/ml"), "processing")
data <- read.csv(file.path(processing, "input", "data", "abalone.csv"))
report <- aggregate(rings ~ sex, data, function(rings) c(animals = length(rings), mean = mean(rings)))
report <- data.frame(
  sex = report$sex,
  animals = report$rings[, "animals"],
  rings = round(report$rings[, "mean"], digits)
)
print(report)
write.csv(report, file.path(processing, "output", "out", "report.csv"), row.names = FALSE)
