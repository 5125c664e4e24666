#!/bin/sh
# fetch.sh s3://BUCKET/KEY FILE: gets one object, with the rights of the job's role. It needs curl and no more.
# Used only where the code does not come by the channel `code`.
set -eu

case $AWS_REGION in
cn-*) domain=amazonaws.com.cn ;;
*) domain=amazonaws.com ;;
esac
endpoint=${AWS_ENDPOINT_URL_S3:-${AWS_ENDPOINT_URL:-https://s3.$AWS_REGION.$domain}}
path=$(printf %s "${1#s3://}" | sed 's/%/%25/g; s/ /%20/g; s/+/%2B/g; s/=/%3D/g')

# Where the platform gives a container the credentials of its role.
source=${AWS_CONTAINER_CREDENTIALS_FULL_URI:-http://169.254.170.2${AWS_CONTAINER_CREDENTIALS_RELATIVE_URI:-}}
credentials=$(curl --fail --silent --show-error "$source" | tr -d '\n')
member() {
    printf %s "$credentials" | sed 's/.*"'"$1"'" *: *"\([^"]*\)".*/\1/'
}

# Secrets go by standard input, since every process can see the arguments of the others. S3 wants the digest
# of the request's body signed: this one is that of nothing.
curl --fail --silent --show-error --retry 5 --aws-sigv4 "aws:amz:$AWS_REGION:s3" --config - \
    --output "$2" "$endpoint/$path" <<END
user = "$(member AccessKeyId):$(member SecretAccessKey)"
header = "x-amz-security-token: $(member Token)"
header = "x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
END
