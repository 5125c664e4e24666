# What runs in the container, told by run.sh: `train` (Training), `serve` (an endpoint), or a script of yours
# with its arguments (Processing). Scripts are sourced here, in this very R.
#
# A script that trains finds these variables:
#   hyperparameters  a list, typed: hyperparameters$rounds is a number
#   input_dir        input channels: file.path(input_dir, "train")
#   model_dir        what is here at the end is the model
#   output_dir       what is here at the end is kept as well
# deploy.R, which serves the model, finds model_dir and port, and defines
#   model_fn(model_dir)        reads the model; without it, the model is model_dir
#   predict_fn(data, model)    answers a request, of which JSON and CSV have become a data frame
# or runs a server of its own.

# All in an environment of its own: a script may say rm(list = ls()).
local({
  options(warn = 1) # warnings show in the log when they happen
  opt_ml <- Sys.getenv("SMEXEC_OPT_ML", "/opt/ml")
  here <- dirname(normalizePath(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)[1])))
  command <- Sys.getenv("SMEXEC_COMMAND")
  stopped <- 143L # as after SIGTERM

  # -- training ------------------------------------------------------------------------------------------

  train <- function() {
    given <- read_hyperparameters()
    code <- unpack_code(given$sagemaker_submit_directory)
    files <- list.files(code, recursive = TRUE, all.files = TRUE)
    # At R's very end, since a script that says quit() does not come back here.
    reg.finalizer(globalenv(), function(...) keep_code(code, files), onexit = TRUE)
    setwd(code)
    until_stopped(source_with(given$sagemaker_program, list(
      hyperparameters = given[!grepl("^sagemaker_", names(given))],
      input_dir = file.path(opt_ml, "input", "data"),
      model_dir = file.path(opt_ml, "model"),
      output_dir = file.path(opt_ml, "output", "data"),
      opt_ml = opt_ml
    )))
  }

  # Each is JSON within JSON: "100" is a number, "\"rings ~ .\"" a text. What is neither stays a text.
  read_hyperparameters <- function() {
    file <- file.path(opt_ml, "input", "config", "hyperparameters.json")
    if (!file.exists(file)) return(list())
    decode <- function(text) {
      # Not fromJSON, which would take a text for the name of a file.
      tryCatch(jsonlite::parse_json(text, simplifyVector = TRUE), error = function(condition) text)
    }
    lapply(jsonlite::read_json(file), decode)
  }

  # The code comes by the channel `code`; else it lies where the hyperparameters say.
  unpack_code <- function(submit_directory) {
    directory <- file.path(tempdir(), "code")
    dir.create(directory)
    archive <- file.path(opt_ml, "input", "data", "code", "sourcedir.tar.gz")
    if (!file.exists(archive)) {
      if (is.null(submit_directory)) stop("there is neither a channel code nor sagemaker_submit_directory")
      archive <- if (startsWith(submit_directory, "s3://")) fetch(submit_directory) else submit_directory
    }
    if (utils::untar(archive, exdir = directory) != 0) stop("cannot unpack ", archive)
    directory
  }

  fetch <- function(uri) {
    file <- tempfile(fileext = ".tar.gz")
    status <- system2("sh", shQuote(c(file.path(here, "fetch.sh"), uri, file)))
    if (status != 0) stop("cannot fetch ", uri, ": what curl says of it is in the log")
    file
  }

  # A model goes with the code that serves it, and with nothing else.
  keep_code <- function(code, files) {
    model_dir <- file.path(opt_ml, "model")
    if (!("deploy.R" %in% files) || length(list.files(model_dir)) == 0) return()
    for (name in files) {
      target <- file.path(model_dir, "code", name)
      dir.create(dirname(target), recursive = TRUE, showWarnings = FALSE)
      file.copy(file.path(code, name), target, overwrite = TRUE)
    }
  }

  # -- serving -------------------------------------------------------------------------------------------

  serve <- function() {
    model_dir <- file.path(opt_ml, "model")
    port <- as.integer(Sys.getenv("SAGEMAKER_BIND_TO_PORT", "8080"))
    setwd(file.path(model_dir, "code"))
    until_stopped({
      source_with("deploy.R", list(model_dir = model_dir, port = port, opt_ml = opt_ml))
      listen(port, own("model_fn", identity)(model_dir))
    })
  }

  # What deploy.R has defined under that name.
  own <- function(name, default = NULL) {
    if (is.null(default) && !exists(name, globalenv(), mode = "function")) stop("deploy.R defines no ", name)
    get0(name, globalenv(), mode = "function", ifnotfound = default)
  }

  listen <- function(port, model) {
    predict_fn <- own("predict_fn")
    invocations <- function(req, res) {
      status <- 415L # until its body is understood, it is the caller's fault
      tryCatch({
        read <- reader_of(req$CONTENT_TYPE)
        status <- 400L
        data <- read(text_of(req$bodyRaw))
        status <- 500L
        write_answer(res, traced(predict_fn(data, model)), req$HTTP_ACCEPT)
      }, error = function(condition) {
        res$status <- status
        res$setHeader("Content-Type", "text/plain")
        res$body <- conditionMessage(condition)
        res
      })
    }
    plumber::register_parser("as_is", function() function(value, ...) value, regex = ".")
    server <- plumber::pr()
    server <- plumber::pr_get(server, "/ping", function(res) { res$body <- ""; res })
    server <- plumber::pr_post(server, "/invocations", invocations, parsers = "as_is")
    plumber::pr_run(server, host = "0.0.0.0", port = port, docs = FALSE, quiet = TRUE)
  }

  # What makes data of a text of this type.
  reader_of <- function(type) {
    type <- if (is.null(type)) "application/json" else type
    if (startsWith(type, "application/json")) return(read_rows)
    if (startsWith(type, "text/csv")) return(function(text) read_table(text, type))
    stop("this endpoint takes application/json and text/csv, not ", type)
  }

  text_of <- function(body) {
    text <- rawToChar(body)
    Encoding(text) <- "UTF-8"
    text
  }

  # A record, arrays of records and of rows, and an object of columns are each a data frame.
  read_rows <- function(text) {
    value <- jsonlite::parse_json(text, simplifyVector = TRUE)
    if (is.matrix(value)) return(frame_of(jsonlite::parse_json(text)))
    if (!is.list(value) || is.null(names(value)) || is.data.frame(value)) return(value)
    value <- na_for_null(value)
    if (length(unique(lengths(value))) == 1) list2DF(value) else value
  }

  # Of rows whose cells each have a type, as in no matrix; columns have the names of CSV without a header.
  frame_of <- function(rows) {
    cells <- do.call(rbind, rows)
    columns <- lapply(seq_len(ncol(cells)), function(column) unlist(na_for_null(cells[, column])))
    stats::setNames(list2DF(columns), paste0("V", seq_along(columns)))
  }

  na_for_null <- function(cells) lapply(cells, function(cell) if (is.null(cell)) NA else cell)

  # As read.csv would; but F and T stay texts: a lone F is no less often a sex than a logical.
  read_table <- function(text, type) {
    cells <- utils::read.csv(
      text = text, header = has_header(text, type), check.names = FALSE, colClasses = "character"
    )
    cells[] <- lapply(cells, converted)
    cells
  }

  converted <- function(column) {
    value <- utils::type.convert(column, as.is = TRUE)
    if (is.logical(value) && any(c("F", "T") %in% column)) column else value
  }

  # text/csv; header=present says it. Otherwise a first line without a number is one.
  has_header <- function(text, type) {
    if (grepl("header=", type)) return(grepl("header=present", type))
    first <- scan(text = sub("\r?\n.*", "", text), what = "", sep = ",", quiet = TRUE)
    !any(grepl("^\\s*[-+]?[0-9.]", first))
  }

  # JSON unless CSV is asked for: {"output":9.3}, where R's vectors of one are plain values.
  write_answer <- function(res, value, accept) {
    if (!is.null(accept) && startsWith(accept, "text/csv")) {
      lines <- utils::capture.output(utils::write.table(
        value, sep = ",", qmethod = "double", row.names = FALSE, col.names = FALSE
      ))
      res$setHeader("Content-Type", "text/csv")
      res$body <- paste0(lines, "\n", collapse = "")
    } else {
      res$setHeader("Content-Type", "application/json")
      res$body <- jsonlite::toJSON(value, auto_unbox = TRUE, digits = NA, na = "null", null = "null")
    }
    res
  }

  # -- processing ----------------------------------------------------------------------------------------

  # A script is found by its path, or among those that were handed in. Without a name it is the only one.
  process <- function() {
    code <- file.path(opt_ml, "processing", "input", "code")
    scripts <- c(command, file.path(code, command))
    if (command == "") scripts <- list.files(code, "[.]R$", full.names = TRUE)
    scripts <- unique(normalizePath(scripts[utils::file_test("-f", scripts)]))
    if (length(scripts) != 1) stop("neither train nor serve, nor a script here or in ", code, ": ", command)
    if (dir.exists(code)) setwd(code)
    until_stopped(source_with(scripts, list(opt_ml = opt_ml)))
  }

  # -- all of them ---------------------------------------------------------------------------------------

  # As Rscript would: in the global environment, values that are not assigned are printed.
  source_with <- function(file, variables) {
    list2env(variables, globalenv())
    source(file, print.eval = TRUE, keep.source = TRUE)
  }

  # The exit code. An interrupt that a script does not catch itself ends it here, in good order. One that came
  # while R was deaf, as it is before it is up and while it waits for another program, has left its file.
  until_stopped <- function(work) {
    tryCatch({
      if (file.exists(Sys.getenv("SMEXEC_STOPPED"))) return(stopped)
      work
      0L
    }, interrupt = function(condition) {
      message("stopped")
      stopped
    })
  }

  # Shows in the log where an error came from.
  traced <- function(work) {
    withCallingHandlers(work, error = function(condition) log_error(condition, sys.calls()))
  }

  log_error <- function(condition, calls) message(paste(describe(condition, calls), collapse = "\n"))

  # The message first, then the calls that led there.
  describe <- function(condition, calls) c(paste("Error:", conditionMessage(condition)), trace_of(calls))

  # Those of the script: above them is what sourced it, below them what R adds to an error.
  trace_of <- function(calls) {
    texts <- vapply(calls, function(call) deparse(call, width.cutoff = 120L, nlines = 1L)[1], "")
    first <- max(0, grep("^(source\\(|eval\\(ei, envir|(train|serve|process|traced)\\()", texts))
    is_ours <- seq_along(texts) > first & !grepl("^(withCallingHandlers|\\.handleSimpleError|h\\(|stop\\()", texts)
    utils::tail(paste0("  ", vapply(calls, place_of, ""), texts)[is_ours], 10)
  }

  place_of <- function(call) {
    reference <- attr(call, "srcref")
    if (is.null(reference)) return("")
    sprintf("%s:%d: ", basename(attr(reference, "srcfile")$filename), reference[1])
  }

  # Where the platform looks for what a job has to say of its end.
  write_failure <- function(text) {
    file <- file.path(opt_ml, "output", if (command == "train") "failure" else "message")
    if (dir.exists(dirname(file))) writeLines(text, file)
  }

  # The calls are to be seen where an error is signalled. What is done about it waits until they have ended:
  # after an infinite recursion there is no room left for it before.
  main <- function() {
    calls <- list()
    tryCatch(
      withCallingHandlers(
        switch(command, train = train(), serve = serve(), process()),
        error = function(condition) calls <<- sys.calls()
      ),
      error = function(condition) {
        log_error(condition, calls)
        write_failure(describe(condition, calls))
        1L
      }
    )
  }

  quit(save = "no", status = main())
})
