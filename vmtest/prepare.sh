#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes this machine able to build autosa and to run it in virtual machines with real kernels and real sched_ext
# schedulers. What is fetched or built goes to a cache outside the checkout; what changes on the machine itself is
# listed there and can be undone. Every stage can be interrupted and run again: it does only what is missing.

set -euo pipefail
umask 022
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly cache=${XDG_CACHE_HOME:-$HOME/.cache}/autosa
readonly changes=$cache/changes
readonly all_stages=(packages qemu virtme kernels schedulers)
readonly more_stages=(loader) # run when --only names them

# --- What is wanted -----------------------------------------------------------------------------------------------

readonly packages=(
	clang-19 llvm-19 clang-format-19 gcc libbpf-dev                                            # the BPF objects, go test -race
	libelf-dev zlib1g-dev libseccomp-dev protobuf-compiler pkg-config libclang-19-dev libc6-dev # the scx schedulers
	udev kmod busybox-static python3-venv                                                       # virtme-ng
	stress-ng fio rt-tests libbpf-tools                                                         # loads, and what the tracer is measured against
	git make shellcheck xz-utils
)

# Series of kernels and the suites of Debian which may have them. The newest point release of a series is taken.
readonly kernels=(
	"6.1  bookworm"
	"6.12 trixie"
	"6.16 trixie-backports"
	"6.18 trixie-backports"
	"7.2  sid trixie-backports"
	"7.3  sid trixie-backports"
)
series=(6.1 6.12 6.16 6.18 7.2 7.3)

readonly virtme_version=1.42
readonly qemu_major=10 # older ones crash under 6.12 and hand out virtual time in coarse turns

readonly schedulers=(scx_rusty@1.1.4 scx_lavd@1.1.4 scx_bpfland@1.1.4 scx_flash@1.1.4)
# What `make bench-swap` compares with: another manager of schedulers, and the bus that it is spoken to on.
readonly loader=(scx_loader@1.1.3 scxctl@1.1.3) loader_packages=(dbus-daemon polkitd)
readonly min_go=1.26 min_cargo=1.91 # go.mod, and the schedulers' rust-version

# --- Talking ------------------------------------------------------------------------------------------------------

stage=prepare stage_label=prepare job=

say() { printf '%s %s\n' "[$stage_label]" "$*"; }
die() {
	printf 'prepare: %s\n' "$*" >&2
	exit 1
}

usage() {
	cat <<USAGE
Usage: vmtest/prepare.sh [--only STAGE[,STAGE…]] [--series X.Y[,X.Y…]] [--refresh]
       vmtest/prepare.sh --list | --undo

  --only     run these stages only (${all_stages[*]}; ${more_stages[*]} too, which \`make bench-swap\` needs)
  --series   prepare these kernel series instead of ${series[*]} (known: $(known_series))
  --refresh  look for newer point releases of the kernels
  --list     say what is prepared and what is not, and what was changed on this machine
  --undo     take back the changes made to this machine: kernel modules, kernel configurations, installed packages

The cache is $cache.
USAGE
}

known_series() { printf '%s\n' "${kernels[@]%% *}" | paste -sd ' '; }

# suites_of SERIES prints the suites which may have its kernels.
suites_of() { printf '%s\n' "${kernels[@]}" | sed -n "s/^${1//./\\.}  *//p"; }

# run WHAT COMMAND… runs a command with its output in the stage's log, shows what it is doing for how long, and on
# failure ends with the last lines of the log. The command has a process group of its own, so that an interrupt can
# end all of it.
run() {
	local what=$1 log=$cache/log/$stage.log started=$SECONDS last=-1 rc=0 from elapsed
	shift
	mkdir -p "$cache/log"
	printf '\n== %s: %s\n' "$(date -u +%FT%TZ)" "$what" >>"$log"
	from=$(stat -c %s "$log")
	set -m
	("$@") >>"$log" 2>&1 </dev/null 9>&- &
	job=$!
	set +m
	while kill -0 "$job" 2>/dev/null; do
		elapsed=$((SECONDS - started))
		if [[ -t 1 ]]; then
			printf '\r\033[K[%s] %s … %d s  %s' "$stage_label" "$what" "$elapsed" "$(last_line "$log" "$from")"
		elif ((elapsed / 20 != last)); then
			last=$((elapsed / 20))
			say "$what … $elapsed s  $(last_line "$log" "$from")"
		fi
		sleep 0.3
	done
	wait "$job" || rc=$?
	job=
	[[ ! -t 1 ]] || printf '\r\033[K'
	if ((rc != 0)); then
		say "$what: exit status $rc. The end of $log:"
		tail -n 20 "$log" | sed 's/^/    /'
		exit 1
	fi
	say "$what: done in $((SECONDS - started)) s"
}

last_line() {
	tail -c "+$(($2 + 1))" "$1" | tail -n 1 | tr '\r' '\n' | tail -n 1 | tr -cd '[:print:]' | cut -c1-60
}

# on_signal ends what runs, so that nothing goes on behind the back of whoever pressed Ctrl-C.
on_signal() {
	trap '' INT TERM HUP
	if [[ -n $job ]]; then
		kill -TERM -- "-$job" 2>/dev/null || true
		for _ in {1..50}; do
			kill -0 -- "-$job" 2>/dev/null || break
			sleep 0.1
		done
		kill -KILL -- "-$job" 2>/dev/null || true
	fi
	printf '\nprepare: interrupted during %s; run it again to go on from there\n' "$stage" >&2
	exit 130
}

# changed KIND WHAT remembers a change to the machine. It is called before the change is made.
changed() {
	grep -qxF "$1 $2" "$changes" 2>/dev/null || printf '%s %s\n' "$1" "$2" >>"$changes"
}

# --- What has to be there -----------------------------------------------------------------------------------------

at_least() { [[ $(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1) == "$1" ]]; }

# check_machine names everything that is missing at once.
check_machine() {
	local wrong=() id=none version=99 have
	if [[ -r /etc/os-release ]]; then
		# shellcheck source=/dev/null
		read -r id version < <(. /etc/os-release && echo "${ID:-none} ${VERSION_ID:-99}") # testing and sid have no VERSION_ID
	fi
	if [[ $id != debian ]] || ! at_least 12 "$version"; then
		wrong+=("this is $id ${version/#99/without a version}: the kernels are Debian's; use Debian 12 or newer, a container of it will do")
	fi
	[[ $(uname -m) == x86_64 ]] || wrong+=("this is $(uname -m): only x86_64 machines are prepared")
	((EUID == 0)) || wrong+=("root is needed to install packages and kernel modules: run it with sudo")
	if ! have=$(go env GOVERSION 2>/dev/null); then
		wrong+=("go is not in PATH: install Go $min_go or newer (https://go.dev/dl)")
	elif ! at_least "$min_go" "${have#go}"; then
		wrong+=("go is ${have#go}: install Go $min_go or newer (https://go.dev/dl)")
	fi
	if want schedulers || want loader; then
		if ! have=$(cargo --version 2>/dev/null); then
			wrong+=("cargo is not in PATH: install Rust $min_cargo or newer (https://rustup.rs)")
		elif ! at_least "$min_cargo" "$(cut -d' ' -f2 <<<"$have")"; then
			wrong+=("$have is too old for the schedulers: install Rust $min_cargo or newer (https://rustup.rs)")
		fi
	fi
	((${#wrong[@]} == 0)) || die "this machine cannot be prepared:$(printf '\n  - %s' "${wrong[@]}")"
}

check_space() {
	local free
	free=$(df --output=avail -BM "$cache" | tail -n 1 | tr -cd 0-9)
	((free >= 5000)) || die "$cache has $free MB free; 5000 MB are needed while kernels are unpacked and schedulers built"
}

# --- apt ----------------------------------------------------------------------------------------------------------

installed() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

apt_get() {
	DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 \
		-o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o APT::Sandbox::User=root "$@"
}

# install_packages WHAT OPTION… -- PACKAGE… installs and remembers every package that was not there before.
install_packages() {
	local what=$1 opts=() before
	shift
	while [[ $1 != -- ]]; do opts+=("$1"); shift; done
	shift
	before=$(mktemp -p "$cache")
	dpkg-query -W -f '${db:Status-Status} ${binary:Package}\n' | sed -n 's/^installed //p' | sort >"$before"
	cp "$before" "$cache/packages-before" # survives an interrupt: see note_packages
	run "$what" apt_get "${opts[@]}" install -y --no-install-recommends "$@"
	rm -f "$before"
	note_packages
}

# note_packages lists what the last installation added, also when that one was interrupted.
note_packages() {
	[[ -f $cache/packages-before ]] || return 0
	local name
	while read -r name; do
		changed package "$name"
	done < <(dpkg-query -W -f '${db:Status-Status} ${binary:Package}\n' | sed -n 's/^installed //p' | sort |
		comm -13 "$cache/packages-before" -)
	rm -f "$cache/packages-before"
}

# debian_source prints the URI, the suite's name here and the keyring of the Debian archive that this machine's own apt
# uses, in whichever of the two formats it is written.
debian_source() {
	local codename files
	# shellcheck source=/dev/null
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-sid}")
	files=$(find /etc/apt/sources.list.d -name '*.sources' 2>/dev/null | sort)
	# shellcheck disable=SC2086 # one file a word
	{
		[[ -z $files ]] || awk -v codename="$codename" '
			function flush() {
				if (types ~ /(^| )deb( |$)/ && enabled != "no" && (" " suites " ") ~ (" (" codename "|stable|oldstable|testing|sid|unstable) ")) {
					split(uris, u, " "); split(suites, s, " ")
					for (i in s) if (s[i] ~ "^(" codename "|stable|oldstable|testing|sid|unstable)$") print u[1], s[i], (key == "" ? "-" : key)
				}
				types = uris = suites = key = enabled = ""
			}
			FNR == 1 || /^[ \t]*$/ { flush() }
			/^#/ { next }
			{ field = tolower($1); value = $0; sub(/^[^:]*:[ \t]*/, "", value) }
			field == "types:" { types = value }
			field == "uris:" { uris = value }
			field == "suites:" { suites = value }
			field == "enabled:" { enabled = tolower(value) }
			field == "signed-by:" && value ~ /^\// { key = value }
			END { flush() }' $files
		cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null | awk -v codename="$codename" '
			$1 == "deb" {
				key = "-"
				if (match($0, /signed-by=[^] \t]+/)) key = substr($0, RSTART + 10, RLENGTH - 10)
				sub(/^deb[ \t]+(\[[^]]*\])?[ \t]*/, "")
				if ($2 ~ "^(" codename "|stable|oldstable|testing|sid|unstable)$" && / main( |$)/) print $1, $2, key
			}'
	} | head -n 1
}

# private_apt NAME SUITE… fetches the package lists of other suites of this machine's own mirror into the cache, where
# they change nothing for the machine's apt, and leaves the options that use them in apt_opts.
private_apt() {
	local name=$1 dir=$cache/apt/$1 uri suite keyring options=arch=amd64
	shift
	read -r uri suite keyring < <(debian_source) || true
	[[ -n ${uri:-} ]] || die "no Debian archive is named in /etc/apt/sources.list or /etc/apt/sources.list.d"
	[[ $keyring == - ]] && keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	options+=" signed-by=$keyring"
	mkdir -p "$dir/lists/partial"
	for suite; do printf 'deb [%s] %s %s main\n' "$options" "$uri" "$suite"; done >"$dir/sources.list"
	apt_opts=(-o "Dir::Etc::sourcelist=$dir/sources.list" -o Dir::Etc::sourceparts=-
		-o "Dir::State::Lists=$dir/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=)
	run "package lists of $*" apt_get "${apt_opts[@]}" update
}

# --- Stages -------------------------------------------------------------------------------------------------------
# STAGE_missing prints what is not there yet, one thing a line; stage_STAGE provides it.

packages_missing() {
	local p
	for p in "${packages[@]}"; do installed "$p" || echo "$p"; done
}

# download_packages fetches the machine's package lists only when those it has are missing or too old.
download_packages() {
	local get=(install -y --no-install-recommends --download-only)
	apt_get "${get[@]}" "$@" || { apt_get update && apt_get "${get[@]}" "$@"; }
}

stage_packages() {
	local missing
	if [[ -n $(dpkg --audit 2>/dev/null) ]]; then run "finish an interrupted installation" dpkg --configure -a; fi
	mapfile -t missing < <(packages_missing)
	((${#missing[@]} > 0)) || return 0
	run "download ${missing[*]}" download_packages "${missing[@]}"
	install_packages "install ${missing[*]}" -- "${missing[@]}"
}

qemu_missing() {
	local have
	have=$(qemu-system-x86_64 --version 2>/dev/null | sed -n 's/.*version \([0-9]*\).*/\1/p')
	((${have:-0} >= qemu_major)) || echo "qemu-system-x86 $qemu_major"
}

stage_qemu() {
	local codename
	[[ -n $(qemu_missing) ]] || return 0
	# shellcheck source=/dev/null
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	if [[ $codename == bookworm ]]; then
		private_apt qemu bookworm bookworm-backports
		install_packages "install qemu-system-x86 from bookworm-backports" "${apt_opts[@]}" -t bookworm-backports -- qemu-system-x86
	else
		run "package lists" apt_get update
		install_packages "install qemu-system-x86" -- qemu-system-x86
	fi
	[[ -z $(qemu_missing) ]] || die "the archive's $(qemu-system-x86_64 --version | head -n 1) is older than $qemu_major"
}

virtme_missing() {
	[[ $("$cache/virtme/bin/vng" --version 2>/dev/null) == *" $virtme_version"* ]] || echo "virtme-ng $virtme_version"
}

stage_virtme() {
	[[ -n $(virtme_missing) ]] || return 0
	rm -rf "$cache/virtme"
	run "virtual environment" python3 -m venv "$cache/virtme"
	run "install virtme-ng $virtme_version" "$cache/virtme/bin/pip" install --disable-pip-version-check --no-input \
		--only-binary :all: --require-hashes -r "$here/requirements.txt"
	[[ -z $(virtme_missing) ]] || die "$cache/virtme/bin/vng does not answer --version with $virtme_version"
}

# A kernel is cache/kernels/SERIES/{vmlinuz,release}, /lib/modules/RELEASE and /boot/config-RELEASE.
# release is written last.
kernel_ready() {
	local dir=$cache/kernels/$1 release
	release=$(cat "$dir/release" 2>/dev/null) && [[ -n $release ]] && [[ -s $dir/vmlinuz ]] &&
		[[ -s /lib/modules/$release/modules.dep ]] && [[ -s /boot/config-$release ]]
}

kernels_missing() {
	local s
	for s in "${series[@]}"; do
		if [[ -n $refresh ]] || ! kernel_ready "$s"; then echo "kernel $s"; fi
	done
}

stage_kernels() {
	local s wanted=() missing
	mapfile -t missing < <(kernels_missing | sed 's/^kernel //')
	((${#missing[@]} > 0)) || return 0
	for s in "${missing[@]}"; do
		# shellcheck disable=SC2207 # one suite a word
		wanted+=($(suites_of "$s"))
	done
	mapfile -t wanted < <(printf '%s\n' "${wanted[@]}" | sort -u)
	private_apt kernels "${wanted[@]}"
	local names
	names=$(apt-cache "${apt_opts[@]}" pkgnames linux-)
	for s in "${missing[@]}"; do prepare_kernel "$s" "$names"; done
}

# kernel_packages RELEASE NAMES prints the packages a release consists of, nothing if the archive lacks one: one
# linux-image up to 6.x, three from 7.x on, whose kernel may be unsigned in backports.
kernel_packages() {
	local release=$1 names=$2 binary
	if grep -qx "linux-modules-$release" <<<"$names"; then
		for binary in "linux-binary-$release" "linux-binary-unsigned-$release"; do
			if grep -qxF "$binary" <<<"$names"; then
				printf '%s\n' "linux-base-$release" "linux-modules-$release" "$binary"
				return
			fi
		done
	elif grep -qxF "linux-image-$release" <<<"$names"; then
		echo "linux-image-$release"
	fi
}

prepare_kernel() {
	local s=$1 names=$2 release='' r wanted=() tmp
	# Not the cloud and rt flavours: they lack 9p.
	while read -r r; do
		mapfile -t wanted < <(kernel_packages "$r" "$names")
		if ((${#wanted[@]} > 0)); then release=$r && break; fi
	done < <(sed -nE "s/^linux-(image|binary|binary-unsigned)-(${s//./\\.}[.][^-]+(-[0-9]+)?-amd64)\$/\2/p" <<<"$names" | sort -ruV)
	[[ -n $release ]] || die "the archive has no kernel $s in $(suites_of "$s"): tests that need it cannot run"
	if [[ $(cat "$cache/kernels/$s/release" 2>/dev/null) == "$release" ]] && kernel_ready "$s"; then
		say "kernel $s: $release is the newest and is there"
		return
	fi
	say "kernel $s: the newest is $release"
	tmp=$cache/kernels/$s.new
	rm -rf "$tmp"
	mkdir -p "$tmp/deb" "$tmp/root"
	run "download $release" download_kernel "$tmp/deb" "${wanted[@]}"
	run "unpack $release" unpack_kernel "$tmp" "$release"
	install_modules "$tmp" "$release"
	rm -rf "$tmp/deb" "$tmp/root" "$cache/kernels/$s"
	printf '%s\n' "$release" >"$tmp/release"
	mv "$tmp" "$cache/kernels/$s"
}

download_kernel() {
	cd "$1"
	shift
	apt_get "${apt_opts[@]}" download "$@"
	test "$(find . -name '*.deb' | wc -l)" -eq $#
}

unpack_kernel() {
	local tmp=$1 release=$2 root=$1/root deb image
	for deb in "$tmp"/deb/*.deb; do dpkg -x "$deb" "$root"; done
	mkdir -p "$root/usr/lib/modules"
	if [[ -d $root/lib/modules && ! $root/lib -ef $root/usr/lib ]]; then mv "$root/lib/modules/$release" "$root/usr/lib/modules/"; fi
	for image in "$root/boot/vmlinuz-$release" "$root/usr/lib/modules/$release/vmlinuz" "$root/usr/lib/modules/$release/vmlinuz.unsigned"; do
		if [[ -s $image ]]; then cp "$image" "$tmp/vmlinuz"; break; fi
	done
	for image in "$root/boot/config-$release" "$root/usr/lib/modules/$release/config"; do
		if [[ -s $image ]]; then cp "$image" "$tmp/config"; break; fi
	done
	test -s "$tmp/vmlinuz"
	test -s "$tmp/config"
	# What every guest loads: busybox unpacks it there, on an emulated processor, at each boot.
	find "$root/usr/lib/modules/$release/kernel" -regextype posix-extended \
		-regex '.*/(netfs|fscache|9pnet|9pnet_virtio|9p|virtio_mmio|overlay)\.ko\.xz' -exec xz -d {} +
	depmod -b "$root/usr" "$release" 2>/dev/null || depmod -b "$root" "$release"
	test -s "$root/usr/lib/modules/$release/modules.dep"
}

# install_modules puts modules and configuration where the kernel's tools look for them, and leaves alone those that a
# package of this machine owns.
install_modules() {
	local tmp=$1 release=$2 dir=/lib/modules/$2 config=/boot/config-$2
	if [[ ! -d /lib/modules ]]; then
		changed directory /lib/modules
		mkdir -p /lib/modules
	fi
	if ! dpkg -S "$dir/kernel" >/dev/null 2>&1; then
		changed directory "$dir"
		# The same modules may be there from another cache, and in use.
		if ! diff -rq "$tmp/root/usr/lib/modules/$release" "$dir" >/dev/null 2>&1; then
			rm -rf "$dir" "$dir.autosa"
			mv "$tmp/root/usr/lib/modules/$release" "$dir.autosa" # may cross file systems: the last step is a rename
			mv "$dir.autosa" "$dir"
		fi
	fi
	if ! dpkg -S "$config" >/dev/null 2>&1; then
		changed file "$config"
		mkdir -p /boot
		cp "$tmp/config" "$config.autosa"
		mv "$config.autosa" "$config"
	fi
}

scheduler_ready() {
	[[ $("$cache/scx/bin/${1%@*}" --version 2>/dev/null) == *"${1#*@}"* ]]
}

schedulers_missing() {
	local s
	for s in "${schedulers[@]}"; do scheduler_ready "$s" || echo "$s"; done
}

stage_schedulers() {
	local s missing
	mapfile -t missing < <(schedulers_missing)
	for s in "${missing[@]}"; do
		run "build $s" env "CARGO_TARGET_DIR=$cache/cargo-target" BPF_CLANG=clang-19 \
			cargo install --locked --force --root "$cache/scx" "$s"
		scheduler_ready "$s" || die "$cache/scx/bin/${s%@*} does not answer --version with ${s#*@}"
	done
	rm -rf "$cache/cargo-target" # 1.3 GB that only another version's build would use
}

loader_missing() {
	local s
	for s in "${loader_packages[@]}"; do installed "$s" || echo "$s"; done
	for s in "${loader[@]}"; do loader_ready "$s" || echo "$s"; done
}

# loader_ready asks cargo's own list of what it has installed: scx_loader does not answer --version.
loader_ready() {
	[[ -x $cache/loader/bin/${1%@*} ]] && grep -qF "\"${1%@*} ${1#*@} (" "$cache/loader/.crates.toml" 2>/dev/null
}

stage_loader() {
	local s missing=()
	for s in "${loader_packages[@]}"; do installed "$s" || missing+=("$s"); done
	if ((${#missing[@]} > 0)); then
		run "download ${missing[*]}" download_packages "${missing[@]}"
		install_packages "install ${missing[*]}" -- "${missing[@]}"
	fi
	for s in "${loader[@]}"; do
		loader_ready "$s" && continue
		run "build $s" env "CARGO_TARGET_DIR=$cache/cargo-target" cargo install --locked --force --root "$cache/loader" "$s"
		loader_ready "$s" || die "$cache/loader has no ${s%@*} of version ${s#*@}"
	done
	rm -rf "$cache/cargo-target"
}

# --- Undo and list ------------------------------------------------------------------------------------------------

undo() {
	local kind what ours=() extra
	exec 8>"$cache/use.lock"
	flock -n 8 || die "tests are using the prepared kernels: let them end first"
	note_packages
	[[ -s $changes ]] || { echo "prepare: nothing on this machine was changed"; return 0; }
	while read -r kind what; do
		case $kind in
		file) rm -f "$what" && echo "removed $what" ;;
		directory)
			if [[ $what == /lib/modules ]]; then continue; fi
			[[ $what == /lib/modules/?* ]] || die "$changes names $what, which prepare never makes"
			rm -rf "$what" && echo "removed $what"
			;;
		package) if installed "$what"; then ours+=("$what"); fi ;;
		*) die "$changes: unknown kind of change $kind" ;;
		esac
	done <"$changes"
	if grep -qx 'directory /lib/modules' "$changes"; then rmdir --ignore-fail-on-non-empty /lib/modules 2>/dev/null || true; fi
	if ((${#ours[@]} > 0)); then
		extra=$(apt_get -s remove "${ours[@]}" | sed -n 's/^Remv \([^ ]*\).*/\1/p' | sort |
			comm -23 - <(printf '%s\n' "${ours[@]%%:*}" | sort) | paste -sd ' ')
		if [[ -n $extra ]]; then
			echo "kept the packages ${ours[*]}: meanwhile $extra would go with them" >&2
			sed -i '/^package /!d' "$changes"
			return 1
		fi
		stage=undo stage_label=undo
		run "remove ${#ours[@]} packages" apt_get remove -y "${ours[@]}"
	fi
	rm -f "$changes"
	echo "prepare: this machine is as it was; the cache $cache can be deleted"
}

list() {
	local s missing
	for s in "${all_stages[@]}" "${more_stages[@]}"; do
		missing=$("${s}_missing" | paste -sd ' ')
		printf '%-12s %s\n' "$s" "${missing:+missing: }${missing:-ready}"
	done
	for s in "${series[@]}"; do
		if kernel_ready "$s"; then printf '  kernel %-6s %s\n' "$s" "$(cat "$cache/kernels/$s/release")"; fi
	done
	if [[ -s $changes ]]; then
		echo "changed on this machine (--undo takes it back):"
		grep -v '^package ' "$changes" | sed 's/^/  /' || true
		echo "  $(grep -c '^package ' "$changes" || true) packages"
	fi
}

# --- main ---------------------------------------------------------------------------------------------------------

want() { [[ " ${stages[*]} " == *" $1 "* ]]; }

main() {
	local action=prepare s n=0 missing='' started=$SECONDS
	stages=("${all_stages[@]}") refresh=
	while (($# > 0)); do
		case $1 in
		--only | --series)
			(($# > 1)) || die "$1 needs a value"
			if [[ $1 == --only ]]; then IFS=', ' read -ra stages <<<"$2"; else IFS=', ' read -ra series <<<"$2"; fi
			shift
			;;
		--refresh) refresh=1 ;;
		--list) action=list ;;
		--undo) action=undo ;;
		-h | --help) usage && exit 0 ;;
		*) usage >&2 && exit 2 ;;
		esac
		shift
	done
	for s in "${stages[@]}"; do
		[[ " ${all_stages[*]} ${more_stages[*]} " == *" $s "* ]] || die "no stage is named $s: ${all_stages[*]} ${more_stages[*]}"
	done
	for s in "${series[@]}"; do [[ -n $(suites_of "$s") ]] || die "no kernel series $s is known: $(known_series)"; done
	case $action in list) list && exit 0 ;; esac

	mkdir -p "$cache"
	exec 9>"$cache/prepare.lock"
	if [[ $action == prepare ]]; then
		for s in "${stages[@]}"; do missing+=$("${s}_missing"); done
		if [[ -z $missing ]]; then
			echo "prepare: everything is there ($cache)"
			exit 0
		fi
	fi
	check_machine
	if ! flock -n 9; then
		echo "prepare: another run is preparing this machine; waiting for it"
		flock 9
	fi
	trap on_signal INT TERM HUP
	if [[ $action == undo ]]; then
		undo
		exit
	fi
	note_packages
	check_space
	for s in "${stages[@]}"; do
		n=$((n + 1))
		stage=$s stage_label="$n/${#stages[@]} $s"
		missing=$("${s}_missing" | paste -sd ' ')
		if [[ -z $missing ]]; then
			say "ready"
		else
			say "missing: $missing"
			"stage_$s"
		fi
	done
	echo "prepare: done in $((SECONDS - started)) s ($cache)"
}

main "$@"
