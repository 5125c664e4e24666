# A server of its own, on the port that the contract names.
line <- readRDS(file.path(model_dir, "model.rds"))
server <- plumber::pr()
server <- plumber::pr_get(server, "/ping", function() list())
server <- plumber::pr_post(server, "/invocations", function(req) {
  list(rings = line[["(Intercept)"]] + line[["length"]] * req$body$length)
})
plumber::pr_run(server, host = "0.0.0.0", port = 8080, docs = FALSE, quiet = TRUE)
