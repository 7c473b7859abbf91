# The only list of commands; CI calls it.

set shell := ["bash", "-euo", "pipefail", "-c"]

# List the commands
default:
    @just --list --unsorted

# Server, client and a sample backend in one process
demo *args:
    cargo run --release -- demo {{args}}

# Development certificates, where there are none
certs *args:
    cargo run --release -- certs {{args}}

# A server with config/server.toml
run-server *args: certs
    cargo run --release -- server {{args}}

# A client with config/client.toml
run-client *args: certs
    cargo run --release -- client {{args}}

# All tests
test *args:
    cargo test --workspace {{args}}

# Servers that take over from each other, and clients that start anew, under load, for 40 s each
endings *args:
    cargo test --package adit-tests --test endings -- --ignored --nocapture --test-threads 1 long_ {{args}}

# Kills one of two clients under 500 requests per second
kill:
    cargo build --package adit
    cargo test --package adit-tests --test failures kill -- --ignored --nocapture --test-threads 1

# The conformance matrix: runs every cell and writes docs/conformance.md
conformance *args:
    ADIT_BLESS=1 cargo test --package adit-tests --test conformance {{args}}

# Real clients at a backend and through the tunnel, compared; writes docs/conformance.md
conformance-clients *args:
    cargo build --package adit
    python3 -m venv target/clients
    target/clients/bin/pip install --quiet --requirement tests/clients/requirements.txt
    target/clients/bin/python tests/clients/run.py target/debug/adit --bless docs/conformance.md {{args}}

# Hostile clients and servers against real processes, beside a visitor who should notice nothing; --each, --list, --help
[positional-arguments]
hostile *args:
    @cargo build --quiet --release --package adit --package adit-hostile
    @target/release/adit-hostile --adit target/release/adit "$@"

# Real processes, faults drawn from a seed, every byte checked: --seed N, --minutes M, --help
[positional-arguments]
chaos *args:
    @cargo build --quiet --package adit --package adit-chaos
    @target/debug/adit-chaos chaos --adit target/debug/adit "$@"

# The same, with what leaves processes alive, and whether they grow
[positional-arguments]
soak *args:
    @cargo build --quiet --package adit --package adit-chaos
    @target/debug/adit-chaos soak --adit target/debug/adit --minutes 10 "$@"

# A download of 1 GiB while the client's address changes five times, in network namespaces; Linux, as root
roam *args:
    cargo build --release --package adit
    python3 tests/roam/run.py target/release/adit {{args}}

# A thousand clients lose their server at once, and how long it takes until all are back
storm:
    cargo test --release --package adit-tests --test links -- storm --ignored --nocapture

# What a request costs on one tokio runtime and on the other
bench-runtime *args:
    cargo run --release --package bench-runtime -- {{args}}

# What single decisions cost
bench-micro *args:
    cargo bench --package bench-micro -- {{args}}

# Two network namespaces joined by a path that loses packets
[positional-arguments]
lab *args:
    @cargo run --quiet --release --package bench-lab -- "$@"

# How fast requests stay when packets get lost: adit, the older design, TCP, other tunnels; --quick, --help
[positional-arguments]
bench-loss *args:
    cargo build --release --package adit --package baseline-grpc --package bench-loss
    @cargo run --quiet --release --package bench-loss -- "$@"

# Looks for bytes that break a property of tests/properties; `just test` replays those of tests/fuzz
fuzz target seconds="600":
    mkdir -p tests/fuzz/target/found/{{target}}
    cd tests/fuzz && cargo +nightly fuzz run --fuzz-dir . --no-cfg-fuzzing {{target}} \
        target/found/{{target}} corpus/{{target}} -- -max_total_time={{seconds}}

# Keeps the smallest inputs that reach all that `just fuzz` has reached
fuzz-keep target:
    mv tests/fuzz/corpus/{{target}} tests/fuzz/target/found/{{target}}/before
    mkdir -p tests/fuzz/corpus/{{target}}
    cd tests/fuzz && cargo +nightly fuzz run --fuzz-dir . --no-cfg-fuzzing {{target}} \
        corpus/{{target}} target/found/{{target}} -- -merge=1

# Everything that CI checks
check: fmt clippy doc test layers deny

# Formatting
fmt:
    cargo fmt --all --check

# Lints
clippy:
    cargo clippy --workspace --all-targets -- -D warnings

# Documentation without broken links
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

# No file uses what stands below it in its crate's list
layers:
    cargo test --package adit-tests --test layers

# Licences, sources, banned and vulnerable crates
deny:
    cargo deny --all-features check bans licenses sources
    @cargo deny --all-features check advisories || { \
        cargo deny --all-features fetch db >/dev/null 2>&1 && exit 1; \
        echo "!! SKIPPED: the advisory database cannot be fetched; vulnerable crates were NOT checked !!" >&2; }
