// SPDX-License-Identifier: Apache-2.0
/*
 * ring DIR GROUPS RATE - a load that keeps many cgroups a little busy
 *
 * One process in each of the cgroups DIR/0 to DIR/GROUPS-1. On every CPU they
 * hand a token around, RATE times a second over all CPUs, or as fast as they
 * can when RATE is 0: each hand-over is a context switch, and every group gets
 * its turn. Prints "ready" once all are in place and goes on until it is
 * killed; the processes end with it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BURST_NS 1000000 /* the pace is kept a millisecond at a time */
#define SECOND 1000000000ull

/* A CPU's ring: touched only by whoever has the token. */
struct ring {
	uint64_t hops;
	uint64_t next_ns;
	char pad[48];
};

static struct ring *rings;
static uint32_t *token; /* by group: 1 when it has the token */
static uint32_t *ready; /* how many are in place */
static int groups, num_rings;
static uint64_t burst; /* hops of one ring in BURST_NS; 0: no limit */

static void die(const char *what)
{
	fprintf(stderr, "ring: %s: %s\n", what, strerror(errno));
	exit(1);
}

static long futex(uint32_t *word, int op, uint32_t value)
{
	return syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

static void keep_pace(struct ring *r)
{
	struct timespec ts;
	uint64_t now;

	if (!burst || ++r->hops % burst)
		return;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = ts.tv_sec * SECOND + ts.tv_nsec;
	r->next_ns += BURST_NS;
	if (r->next_ns + 100 * BURST_NS < now) /* too late to catch up */
		r->next_ns = now;
	ts.tv_sec = r->next_ns / SECOND;
	ts.tv_nsec = r->next_ns % SECOND;
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

static void member(const char *dir, int i)
{
	int next = i + num_rings < groups ? i + num_rings : i % num_rings;
	char path[4096];
	cpu_set_t set;
	int fd;

	snprintf(path, sizeof(path), "%s/%d/cgroup.procs", dir, i);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		die(path);
	close(fd);
	CPU_ZERO(&set);
	CPU_SET(i % num_rings, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("pin to a CPU");
	__atomic_add_fetch(ready, 1, __ATOMIC_SEQ_CST);
	futex(ready, FUTEX_WAKE, 1);
	for (;;) {
		while (!__atomic_load_n(&token[i], __ATOMIC_ACQUIRE))
			futex(&token[i], FUTEX_WAIT, 0);
		token[i] = 0;
		keep_pace(&rings[i % num_rings]);
		__atomic_store_n(&token[next], 1, __ATOMIC_RELEASE);
		futex(&token[next], FUTEX_WAKE, 1);
	}
}

static void *shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("map shared memory");
	return p;
}

int main(int argc, char **argv)
{
	pid_t parent = getpid();
	uint32_t in_place;
	long rate;
	int i;

	if (argc != 4 || (groups = atoi(argv[2])) < 2 || (rate = atol(argv[3])) < 0) {
		fprintf(stderr, "usage: ring DIR GROUPS RATE, of at least two groups\n");
		return 2;
	}
	num_rings = sysconf(_SC_NPROCESSORS_ONLN);
	if (num_rings > groups / 2) /* alone in a ring nobody switches */
		num_rings = groups / 2;
	if (rate)
		burst = rate / num_rings / (SECOND / BURST_NS) ?: 1;
	rings = shared(num_rings * sizeof(*rings));
	token = shared(groups * sizeof(*token));
	ready = shared(sizeof(*ready));
	signal(SIGCHLD, SIG_DFL);
	for (i = 0; i < groups; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != parent)
				return 1;
			member(argv[1], i);
		}
	}
	while ((in_place = __atomic_load_n(ready, __ATOMIC_SEQ_CST)) < (uint32_t)groups)
		futex(ready, FUTEX_WAIT, in_place);
	puts("ready");
	fflush(stdout);
	for (i = 0; i < num_rings; i++) {
		token[i] = 1;
		futex(&token[i], FUTEX_WAKE, 1);
	}
	for (;;)
		pause();
}
