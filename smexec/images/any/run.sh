#!/bin/sh
# What SageMaker starts: run.sh train (Training), run.sh serve (an endpoint), run.sh PROGRAM ... (Processing).
# Everything ends in exec, so that SIGTERM reaches the program, which may then save what it has.
set -eu
opt_ml=${SMEXEC_OPT_ML:-/opt/ml}

# The value of a hyperparameter that is a text: each is JSON within JSON.
hyperparameter() {
    sed -n 's/.*"'"$1"'": *"\\"\([^"\\]*\)\\"".*/\1/p' "$opt_ml/input/config/hyperparameters.json"
}

fail() {
    echo "$1" | tee "$opt_ml/output/failure" >&2
    exit 1
}

case "${1:-}" in
train)
    # The code comes by the channel `code`; else it lies where the hyperparameters say.
    program=$(hyperparameter sagemaker_program)
    archive=$opt_ml/input/data/code/sourcedir.tar.gz
    code=$(mktemp -d)
    if [ ! -f "$archive" ]; then
        archive=$code.tar.gz
        source=$(hyperparameter sagemaker_submit_directory)
        sh "$(dirname "$0")/fetch.sh" "$source" "$archive" || fail "cannot fetch $source"
    fi
    tar -xzf "$archive" -C "$code"
    cd "$code"
    [ -x "$program" ] || fail "$program cannot be executed: it needs a first line like #!/bin/sh, and chmod +x"
    exec "./$program"
    ;;
serve)
    # Training has put it there, beside the model.
    cd "$opt_ml/model/code"
    exec ./serve
    ;;
"")
    echo "run it with train, serve, or a program" >&2
    exit 2
    ;;
*)
    # A program that was handed in, or a command of the image.
    code=$opt_ml/processing/input/code
    program=$code/${1#"$code/"}
    if [ -f "$program" ]; then
        shift
        chmod +x "$program"
        cd "$code"
        exec "$program" "$@"
    fi
    exec "$@"
    ;;
esac
