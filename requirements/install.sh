#!/bin/sh
# Installs locked packages inside a build: from the wheel house where one was given
# (docker build --build-context wheels=FOLDER), else from the registry.
set -eu
if [ -s /run/secrets/ca ]; then
    # For networks with a certificate authority of their own; a secret leaves nothing in the image.
    export PIP_CERT=/run/secrets/ca
fi
if [ -n "$(ls /wheels)" ]; then
    set -- --no-index --find-links /wheels "$@"
fi
exec pip install --disable-pip-version-check --root-user-action=ignore --require-hashes --only-binary :all: "$@"
