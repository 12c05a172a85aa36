/* SPDX-License-Identifier: MIT */
/*
 * The locked worker: what the loop needs works, the rest kills it.
 * LINK: src/isolate.o src/fds.o src/base/util.o src/base/log.o
 */
#include "isolate.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <linux/if_tun.h>

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
};

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
	return tap_done();
}
