/* SPDX-License-Identifier: MIT */
/*
 * tree: what a program and everything it started cost.
 *
 *	tree [-k SECONDS] -o FILE -- COMMAND...	run it; write "cpu=SECONDS" of the whole tree
 *	tree [-k SECONDS] -n TIMES -- COMMAND...	run it so often; print "ms=MEDIAN min=..
 *max=.." tree -m PID NAME		print "pss=KB rss=KB n=N" of all descendants of PID whose
 *					name starts with NAME
 *
 * It is a subreaper: daemons that detach themselves are counted as well. After -k
 * SECONDS everything it started is killed, and the exit status is 124.
 */
#include "bench.h"

#include <dirent.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>

/** parent_and_name - of process @pid; 0, or -1 when it is gone */
static int parent_and_name(int pid, int *ppid, char name[64])
{
	char path[64], line[512], *end;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (f == NULL)
		return -1;
	end = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
	fclose(f);
	if (end == NULL || sscanf(end, ") %*c %d", ppid) != 1)
		return -1;
	*end = '\0';
	snprintf(name, 64, "%s", strchr(line, '(') + 1);
	return 0;
}

static int is_descendant(int pid, int of)
{
	char name[64];

	while (pid > 1 && pid != of) {
		if (parent_and_name(pid, &pid, name) != 0)
			return 0;
	}
	return pid == of;
}

/** each_descendant - call @fn for every process below @root; returns how many there were */
static unsigned each_descendant(int root, void (*fn)(int pid, const char *name, void *ctx),
				void *ctx)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	unsigned n = 0;
	char name[64];
	int ppid;

	while (d != NULL && (e = readdir(d)) != NULL) {
		int pid = atoi(e->d_name);

		if (pid <= 0 || pid == root || parent_and_name(pid, &ppid, name) != 0 ||
		    !is_descendant(pid, root))
			continue;
		fn(pid, name, ctx);
		n++;
	}
	if (d != NULL)
		closedir(d);
	return n;
}

static void kill_one(int pid, const char *name, void *ctx)
{
	(void)name;
	(void)ctx;
	kill(pid, SIGKILL);
}

/** kill_all - until nothing is left: what is killed may be just starting another one */
static void kill_all(void)
{
	while (each_descendant(getpid(), kill_one, NULL) > 0) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		usleep(10000);
	}
}

static volatile sig_atomic_t timed_out;

static void on_alarm(int sig)
{
	(void)sig;
	timed_out = 1;
}

static unsigned limit; /* seconds, 0 = none */
static uint64_t ended; /* when COMMAND itself did, whatever it left behind */

static int run(char **argv)
{
	pid_t p, pid = fork();
	int status, code = 127;

	if (pid < 0)
		fail("fork");
	if (pid == 0) {
		execvp(argv[0], argv);
		fail("%s", argv[0]);
	}
	setitimer(ITIMER_REAL, &(struct itimerval){{1, 0}, {limit, 0}}, NULL);
	while ((p = wait(&status)) > 0 || errno == EINTR) {
		if (timed_out) {
			kill_all();
			return 124;
		}
		if (p != pid)
			continue;
		ended = mono_ns();
		code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	}
	setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
	return code;
}

static int run_cpu(const char *file, char **argv)
{
	int code = run(argv);
	struct rusage ru;
	FILE *f = fopen(file, "we");

	if (f == NULL)
		fail("%s", file);
	getrusage(RUSAGE_CHILDREN, &ru);
	fprintf(f, "cpu=%.3f\n",
		(double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
			(double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6);
	fclose(f);
	return code;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static int run_times(unsigned n, char **argv)
{
	double *ms = calloc(n, sizeof(*ms));

	if (ms == NULL || n == 0)
		fail("times");
	for (unsigned i = 0; i < n; i++) {
		uint64_t before = mono_ns();
		int code = run(argv);

		if (code != 0) {
			fprintf(stderr, "exit status %d\n", code);
			return code;
		}
		ms[i] = (double)(ended - before) / 1e6;
	}
	qsort(ms, n, sizeof(*ms), by_size);
	printf("ms=%.1f min=%.1f max=%.1f\n", ms[n / 2], ms[0], ms[n - 1]);
	free(ms);
	return 0;
}

static void add_memory(int pid, unsigned long *pss, unsigned long *rss)
{
	char path[64], line[256];
	unsigned long kb;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	f = fopen(path, "re");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		if (sscanf(line, "Pss: %lu", &kb) == 1)
			*pss += kb;
		else if (sscanf(line, "Rss: %lu", &kb) == 1)
			*rss += kb;
	}
	if (f != NULL)
		fclose(f);
}

struct sum {
	const char *prefix;
	unsigned long pss, rss, n;
};

static void sum_one(int pid, const char *name, void *ctx)
{
	struct sum *s = ctx;

	if (strncmp(name, s->prefix, strlen(s->prefix)) != 0)
		return;
	add_memory(pid, &s->pss, &s->rss);
	s->n++;
}

static int memory(int root, const char *prefix)
{
	struct sum s = {.prefix = prefix};

	each_descendant(root, sum_one, &s);
	printf("pss=%lu rss=%lu n=%lu\n", s.pss, s.rss, s.n);
	return s.n == 0;
}

int main(int argc, char **argv)
{
	const char *out = NULL;
	unsigned times = 0;
	int opt, root = 0;

	while ((opt = getopt(argc, argv, "+k:o:n:m:")) != -1) {
		if (opt == 'o')
			out = optarg;
		else if (opt == 'n')
			times = arg_unsigned(optarg);
		else if (opt == 'k')
			limit = arg_unsigned(optarg);
		else if (opt == 'm')
			root = (int)arg_unsigned(optarg);
		else
			return 2;
	}
	if (optind >= argc)
		return 2;
	if (root)
		return memory(root, argv[optind]);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	sigaction(SIGALRM, &(struct sigaction){.sa_handler = on_alarm}, NULL);
	if (out)
		return run_cpu(out, argv + optind);
	if (times)
		return run_times(times, argv + optind);
	return 2;
}
