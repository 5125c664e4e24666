# What runs in the container: `train` (Training), `serve` (an endpoint), or a script of your own (Processing).
# The code is sourced here, in one R process.

opt_ml <- Sys.getenv("SMEXEC_OPT_ML", "/opt/ml")

# Hyperparameters are JSON within JSON: "100" is a number, "\"rings ~ .\"" a text. What is neither stays a text.
read_hyperparameters <- function() {
  file <- file.path(opt_ml, "input", "config", "hyperparameters.json")
  if (!file.exists(file)) return(list())
  decode <- function(text) tryCatch(jsonlite::fromJSON(text), error = function(condition) text)
  lapply(jsonlite::fromJSON(file, simplifyVector = FALSE), decode)
}

# The code comes by the channel `code`, or lies where sagemaker_submit_directory says.
unpack_code <- function(submit_directory) {
  directory <- file.path(tempdir(), "code")
  dir.create(directory)
  archive <- file.path(opt_ml, "input", "data", "code", "sourcedir.tar.gz")
  if (!file.exists(archive) && startsWith(submit_directory, "s3://")) {
    archive <- tempfile(fileext = ".tar.gz")
    if (system2("aws", c("s3", "cp", "--quiet", shQuote(submit_directory), archive)) != 0) {
      stop("cannot fetch ", submit_directory, ": the image needs the AWS CLI for that, or a channel `code`")
    }
  } else if (!file.exists(archive)) {
    archive <- submit_directory
  }
  utils::untar(archive, exdir = directory)
  directory
}

# Why the job failed, in 1,024 characters: the message first, then the calls that led there.
write_failure <- function(condition, calls) {
  text <- c(trimws(paste("Error:", conditionMessage(condition))), "", limited_trace(calls))
  file <- file.path(opt_ml, "output", "failure")
  if (dir.exists(dirname(file))) writeLines(text, file)
  message(paste(text, collapse = "\n"))
}

limited_trace <- function(calls) {
  lines <- vapply(calls, function(call) deparse(call, width.cutoff = 120L, nlines = 1L)[1], "")
  utils::tail(lines[!grepl("^(withCallingHandlers|tryCatch|\\.handleSimpleError|h\\(|doTryCatch)", lines)], 10)
}

run <- function(work) {
  withCallingHandlers(
    work(),
    error = function(condition) {
      write_failure(condition, sys.calls())
      quit(save = "no", status = 1L)
    }
  )
}

train <- function() {
  hyperparameters <- read_hyperparameters()
  directory <- unpack_code(hyperparameters$sagemaker_submit_directory)
  program <- hyperparameters$sagemaker_program
  setwd(directory)
  own <- hyperparameters[!startsWith(names(hyperparameters), "sagemaker_")]
  source_with(program, list(hyperparameters = own, opt_ml = opt_ml))
}

serve <- function() {
  setwd(file.path(opt_ml, "model", "code"))
  source_with("deploy.R", list(model_dir = file.path(opt_ml, "model"), opt_ml = opt_ml))
}

# The script finds what it needs as variables of its global environment.
source_with <- function(file, variables) {
  list2env(variables, globalenv())
  sys.source(file, globalenv(), keep.source = TRUE)
}

arguments <- commandArgs(trailingOnly = TRUE)
run(switch(
  if (length(arguments)) arguments[1] else "",
  train = train,
  serve = serve,
  function() source_with(arguments[1], list(arguments = arguments[-1], opt_ml = opt_ml))
))
