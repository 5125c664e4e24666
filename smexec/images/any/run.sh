#!/bin/sh
# What SageMaker starts: "train" (Training), "serve" (an endpoint), or any other command (Processing).
# Everything ends in exec, so that SIGTERM reaches the program, which may then save what it has.
set -eu
opt_ml=${SMEXEC_OPT_ML:-/opt/ml}

# The value of a hyperparameter that is a text: each is JSON within JSON.
hyperparameter() {
    sed -n 's/.*"'"$1"'": *"\\"\([^"\\]*\)\\"".*/\1/p' "$opt_ml/input/config/hyperparameters.json"
}

case "${1:-}" in
train)
    program=$(hyperparameter sagemaker_program)
    code=$(mktemp -d)
    tar -xzf "$opt_ml/input/data/code/sourcedir.tar.gz" -C "$code"
    cd "$code"
    test -x "$program" || {
        echo "$program cannot be executed: it needs a first line like #!/bin/sh, and chmod +x" |
            tee "$opt_ml/output/failure" >&2
        exit 1
    }
    exec "./$program"
    ;;
serve)
    cd "$opt_ml/model/code"
    exec ./serve
    ;;
*)
    exec "$@"
    ;;
esac
