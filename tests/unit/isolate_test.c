/* SPDX-License-Identifier: MIT */
/*
 * The locked worker: what the loop needs works, the rest kills it. The locked supervisor of `weir
 * up`: it still starts and locks workers, and can do none of what it has no use for.
 * LINK: src/isolate.o src/isolate_supervisor.o src/isolate_filter.o src/isolate_landlock.o
 * LINK: src/isolate_extra.o src/fds.o src/base/util.o src/base/log.o
 */
#include "isolate.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>

#include <linux/if_tun.h>

#include <seccomp.h>

#include "base/util.h"
#include "../lib/tap.h"

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifndef WITH_ASAN
#define WITH_ASAN 0
#endif

/* Each returns the exit status to expect when it is not killed: 0 is what an allowed call gives. */
static int try_openat(void)
{
	return open("/etc/passwd", O_RDONLY) < 0;
}

static int try_execve(void)
{
	char *const argv[] = {(char[]){"true"}, NULL};

	execv("/bin/true", argv);
	return 1;
}

static int try_unix(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0) < 0;
}

static int try_raw(void)
{
	return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) < 0;
}

static int try_netlink(void)
{
	return socket(AF_NETLINK, SOCK_DGRAM, 0) < 0;
}

static int try_ptrace(void)
{
	return ptrace(PTRACE_ATTACH, getppid(), NULL, NULL) < 0;
}

static int try_fork(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	return pid < 0;
}

static int try_kill(void)
{
	return kill(getppid(), 0) != 0;
}

static int try_exec_memory(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
	       MAP_FAILED;
}

static int try_tun_ioctl(void)
{
	return ioctl(0, TUNSETIFF, NULL) != 0;
}

static int try_unlink(void)
{
	return unlink("/nonexistent") != 0;
}

static int try_setuid(void)
{
	return setuid(0) != 0;
}

static int try_loop(void)
{
	int ep = epoll_create1(EPOLL_CLOEXEC),
	    tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int udp = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct epoll_event ev = {.events = EPOLLIN};
	int pending;

	if (ep < 0 || tcp < 0 || (udp < 0 && errno != EAFNOSUPPORT))
		return 1;
	if (epoll_ctl(ep, EPOLL_CTL_ADD, tcp, &ev) || epoll_wait(ep, &ev, 1, 0) < 0)
		return 2;
	if (ioctl(tcp, FIONREAD, &pending) && errno != EINVAL)
		return 3;
	if (fcntl(tcp, F_SETFL, O_NONBLOCK))
		return 4;
	return close(tcp) || close(ep);
}

static int by_byte(const void *a, const void *b)
{
	return *(const char *)a - *(const char *)b;
}

/* of more than the kilobyte up to which glibc needs no memory for it */
static int try_sort(void)
{
	char v[2000] = "b";

	qsort(v, sizeof(v), 1, by_byte);
	return v[0] || v[sizeof(v) - 1] != 'b';
}

static int try_memory(void)
{
	for (size_t n = 1; n < 64; n++) {
		char *p = malloc(n * 100000);

		if (!p)
			return 1;
		memset(p, 1, n * 100000);
		p = realloc(p, n * 200000);
		free(p);
	}
	return 0;
}

static int try_prctl(void)
{
	return prctl(PR_SET_DUMPABLE, 1) != 0;
}

/** locked - wait status of @fn in a locked child */
static int locked(int (*fn)(void))
{
	struct isolate_user u;
	char err[128] = "";
	pid_t pid = fork();
	int status;

	if (!pid) {
		const int keep[] = {1, 2};
		const bool root = geteuid() == 0;

		if (root && isolate_worker_user(&u))
			_exit(101);
		if (isolate_worker_early(keep, ARRAY_SIZE(keep), 512))
			_exit(102);
		if (isolate_worker_lock(root ? &u : NULL, err, sizeof(err))) {
			printf("# %s\n", err);
			fflush(stdout);
			_exit(103);
		}
		_exit(fn());
	}
	waitpid(pid, &status, 0);
	return status;
}

static const struct {
	const char *name;
	int (*fn)(void);
} killed[] =
	{
		{"openat", try_openat},
		{"execve", try_execve},
		{"socket(AF_UNIX)", try_unix},
		{"raw socket", try_raw},
		{"netlink socket", try_netlink},
		{"ptrace", try_ptrace},
		{"fork", try_fork},
		{"kill another", try_kill},
		{"executable memory", try_exec_memory},
		{"unlink", try_unlink},
		{"setuid", try_setuid},
		{"TUN ioctl", try_tun_ioctl},
		{"prctl", try_prctl},
},
  works[] = {
	  {"loop and sockets", try_loop},
	  {"memory", try_memory},
	  {"sorting", try_sort},
};

/* --- Landlock ------------------------------------------------------------------------------- */

static bool no_filter;

/** seccomp_load - the library's, unless a test wants to see what holds without a filter */
int seccomp_load(const scmp_filter_ctx ctx)
{
	int (*real)(const scmp_filter_ctx) =
		(int (*)(const scmp_filter_ctx))(uintptr_t)dlsym(RTLD_NEXT, "seccomp_load");

	if (no_filter)
		return 0;
	return real ? real(ctx) : -ENOSYS;
}

/** try_paths - without a filter: as many ways to a path as there are names of failures */
static int try_paths(void)
{
	if (open("/etc/passwd", O_RDONLY) >= 0 || errno != EACCES)
		return 1;
	if (open("/", O_RDONLY | O_DIRECTORY) >= 0 || errno != EACCES)
		return 2;
	if (open("/dev/null", O_WRONLY) >= 0 || errno != EACCES)
		return 3;
	if (execl("/bin/true", "true", NULL) != -1 || errno != EACCES)
		return 4;
	if (open("/proc/self/fd/1", O_WRONLY) >= 0 || errno != EACCES)
		return 5;
	return write(2, "", 0) != 0; /* what was open stays */
}

static bool have_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, 1) > 0;
}

static void test_landlock(void)
{
	if (!have_landlock()) {
		tap_skip("a second wall: no path", "this kernel has no Landlock");
		return;
	}
	no_filter = true;
	tap_is(locked(try_paths), 0, "a second wall: no path can be opened without the filter");
	no_filter = false;
}

/* --- the supervisor ------------------------------------------------------------------------- */

static bool with_netns;

/** in_supervisor - wait status of @fn in a locked supervisor */
static int in_supervisor(int (*fn)(void))
{
	char err[128] = "";
	pid_t pid = fork();
	int status;

	if (!pid) {
		if (isolate_supervisor_lock(700, with_netns, err, sizeof(err))) {
			printf("# %s\n", err);
			fflush(stdout);
			_exit(103);
		}
		_exit(fn());
	}
	waitpid(pid, &status, 0);
	return status;
}

static int sup_worker(void)
{
	return locked(try_loop);
}

static int sup_worker_locked(void)
{
	int status = locked(try_unix);

	return !(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

static int sup_work(void)
{
	struct rlimit rl;
	int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC), nl, un;
	pid_t pid;

	if (fd < 0 || close(fd))
		return 1;
	nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);
	un = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (nl < 0 || un < 0 || close(nl) || close(un))
		return 2;
	pid = fork();
	if (!pid) { /* waits by a call that is allowed: kill() below is not for it */
		poll(NULL, 0, -1);
		_exit(1);
	}
	if (pid < 0 || kill(pid, SIGKILL) || waitpid(pid, NULL, 0) != pid)
		return 3;
	if (getrlimit(RLIMIT_NOFILE, &rl) || rl.rlim_max < 700)
		return 4;
	return !getgrnam("root");
}

/** status_line - hexadecimal value of a line of /proc/self/status */
static unsigned long long status_line(const char *name)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[256];
	unsigned long long value = ~0ULL;

	while (f && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, name, strlen(name)))
			value = strtoull(line + strlen(name), NULL, 16);
	}
	if (f)
		fclose(f);
	return value;
}

/* NET_ADMIN 12, SYS_PTRACE 19, DAC_READ_SEARCH 2, SETUID 7, SETGID 6, KILL 5 */
#define SUP_CAPS ((1ULL << 12) | (1 << 19) | (1 << 2) | (1 << 7) | (1 << 6) | (1 << 5))

static int sup_caps(void)
{
	if (status_line("CapEff:") & ~SUP_CAPS)
		return 1;
	if (status_line("CapPrm:") & ~SUP_CAPS)
		return 2;
	if (status_line("CapInh:") || status_line("CapAmb:"))
		return 3;
	if (geteuid() == 0 && status_line("CapBnd:") & ~SUP_CAPS)
		return 4;
	return status_line("NoNewPrivs:") != 1;
}

static int sup_packet(void)
{
	return socket(AF_PACKET, SOCK_DGRAM, 0) >= 0;
}

static int sup_written_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	return p != MAP_FAILED;
}

static int sup_code_later(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED || !mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

static int sup_clone_ns(void)
{
	return syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0) >= 0;
}

static int sup_bpf(void)
{
	char attr[128] = "";

	/* 0 makes a map, 5 loads a program: not a question of rights here */
	return syscall(SYS_bpf, 0, attr, sizeof(attr)) >= 0 || errno != ENOSYS ||
	       syscall(SYS_bpf, 5, attr, sizeof(attr)) >= 0 || errno != ENOSYS;
}

static int sup_tiocsti(void)
{
	char c = 'x';

	return ioctl(0, TIOCSTI, &c) >= 0 || errno != ENOSYS;
}

static int sup_mount(void)
{
	return mount("none", "/nonexistent", "tmpfs", 0, NULL) != 0;
}

static int sup_setns(void)
{
	return setns(-1, CLONE_NEWNET) != 0;
}

/** sup_enters - what it may with --netns: the one kind of namespace, nothing of another */
static int sup_enters(void)
{
	int net = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC),
	    uts = open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC);

	if (net < 0 || uts < 0)
		return 1;
	if (setns(net, CLONE_NEWNET))
		return 2;
	return !setns(net, 0) || !setns(uts, CLONE_NEWUTS) || errno != ENOSYS;
}

static int sup_unshare(void)
{
	return unshare(CLONE_NEWUSER) != 0;
}

static int sup_uring(void)
{
	return syscall(SYS_io_uring_setup, 1, NULL) >= 0;
}

static const struct {
	const char *name;
	int (*fn)(void);
	bool asan; /* can be told in a sanitizer build as well */
} sup_works[] =
	{
		{"files, sockets, children", sup_work, true},
		{"a worker starts", sup_worker, true},
		{"a worker locks itself down further", sup_worker_locked, true},
		{"capabilities are those it needs", sup_caps, true},
		{"no packet socket", sup_packet, true},
		{"no memory that is written and run", sup_written_code, true},
		{"... nor one after the other", sup_code_later, false},
		{"no namespace by clone()", sup_clone_ns, true},
		{"no BPF program or map", sup_bpf, true},
		{"no typing into a terminal", sup_tiocsti, true},
},
  sup_killed[] = {
	  {"execve", try_execve, true},	  {"mount", sup_mount, true},
	  {"unshare", sup_unshare, true}, {"setns", sup_setns, true},
	  {"io_uring", sup_uring, true},
};

static void test_supervisor(void)
{
	with_netns = true;
	if (geteuid() == 0)
		tap_is(in_supervisor(sup_enters), 0, "supervisor: network namespaces with --netns");
	else
		tap_skip("supervisor: network namespaces with --netns", "needs root");
	with_netns = false;
	for (size_t i = 0; i < ARRAY_SIZE(sup_works); i++) {
		if (WITH_ASAN && !sup_works[i].asan)
			tap_skip(sup_works[i].name, "sanitizer build");
		else
			tap_is(in_supervisor(sup_works[i].fn), 0, "supervisor: %s",
			       sup_works[i].name);
	}
	for (size_t i = 0; i < ARRAY_SIZE(sup_killed); i++) {
		int status = in_supervisor(sup_killed[i].fn);

		if (!tap_ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS,
			    "supervisor: %s ends it", sup_killed[i].name))
			printf("# wait status %#x\n", (unsigned)status);
	}
}

static int try_sysinfo(void)
{
	struct sysinfo si;

	return sysinfo(&si);
}

/** test_extra - what hooks may ask for beside; after all others, as it stays asked for */
static void test_extra(void)
{
	static const char *const refused[] = {"execve", "ptrace", "mount",    "bpf",   "kexec_load",
					      "openat", "mmap",	  "mprotect", "clone", "socket"};
	char err[128] = "";
	int status = locked(try_sysinfo);

	tap_ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "sysinfo is killed");
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		tap_ok(isolate_worker_allow(refused[i], err, sizeof(err)) == -EINVAL &&
			       strstr(err, "no worker may make"),
		       "a hook may not have %s", refused[i]);
	tap_ok(isolate_worker_allow("uname make_coffee", err, sizeof(err)) == -EINVAL &&
		       !strcmp(err, "there is no system call 'make_coffee'"),
	       "nor what there is not: %s", err);
	tap_is(isolate_worker_allow(" uname  sysinfo ", err, sizeof(err)), 0, "sysinfo it may");
	tap_is(locked(try_sysinfo), 0, "and then that works");
	status = locked(try_unix);
	tap_ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "nothing else does");
}

static int wait_for_ever(void)
{
	while (poll(NULL, 0, -1) < 0)
		;
	return 0;
}

/**
 * dies_with_parent - a locked worker's parent is killed: a pipe that only the worker
 * holds then comes to its end
 */
static bool dies_with_parent(void)
{
	int held[2];
	struct pollfd p;
	pid_t parent;
	char c;

	if (pipe(held) || dup2(held[1], 1) < 0)
		return false;
	parent = fork();
	if (!parent) {
		close(held[0]);
		close(held[1]);
		_exit(locked(wait_for_ever) != 0); /* the worker holds 1 */
	}
	close(held[1]);
	dup2(2, 1);
	usleep(300000);
	p = (struct pollfd){.fd = held[0], .events = POLLIN};
	if (poll(&p, 1, 0)) /* ended before its time */
		return false;
	kill(parent, SIGKILL);
	waitpid(parent, NULL, 0);
	return poll(&p, 1, 5000) == 1 && read(held[0], &c, 1) == 0;
}

/** early - what the first stage leaves: checked from inside the child */
static int early(void)
{
	const int keep[] = {2};
	struct rlimit rl;

	if (isolate_worker_early(keep, 1, 300) || getsid(0) != getpid())
		return 1;
	for (int fd = 3; fd < 300; fd++) {
		if (fcntl(fd, F_GETFD) != -1)
			return 2;
	}
	if (getrlimit(RLIMIT_NOFILE, &rl) || rl.rlim_cur < 300)
		return 3;
	return prctl(PR_GET_DUMPABLE) != 0;
}

static int early_status(void)
{
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(early());
	waitpid(pid, &status, 0);
	return status;
}

int main(void)
{
	int extra = open("/dev/null", O_RDONLY), out = dup(1);
	bool dies = dies_with_parent();

	dup2(out, 1);
	close(out);
	tap_ok(dies, "locked: dies with its parent");

	tap_is(early_status(), 0, "early: own session, no descriptors, not dumpable");
	close(extra);
	for (size_t i = 0; i < ARRAY_SIZE(works); i++)
		tap_is(locked(works[i].fn), 0, "locked: %s work", works[i].name);
	for (size_t i = 0; i < ARRAY_SIZE(killed); i++) {
		/* the sanitizer's run-time needs these two itself */
		if (WITH_ASAN && (killed[i].fn == try_tun_ioctl || killed[i].fn == try_prctl)) {
			tap_skip(killed[i].name, "sanitizer build");
			continue;
		}
		int status = locked(killed[i].fn);

		if (!tap_ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS,
			    "locked: %s is killed", killed[i].name))
			printf("# wait status %#x\n", (unsigned)status);
	}
	test_landlock();
	test_supervisor();
	test_extra();
	return tap_done();
}
