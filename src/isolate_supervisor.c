/* SPDX-License-Identifier: MIT */
/*
 * The supervisor of `weir up` stays root, so that files are its own, but without most of root's
 * power. It parses no packet; what it reads of others is the worker's messages, /proc, and
 * requests of users over the control socket.
 *
 * Its filter has three answers. What it, its workers before they lock themselves down, and its
 * watcher call is allowed. What only somebody who has taken it over would call ends it. All the
 * rest does not exist (ENOSYS): a C library that tries a newer call falls back to an older one,
 * and one call forgotten here costs a feature rather than the host's network.
 *
 * Who inherits it: workers and watcher, which add their own walls. No COMMAND runs below it.
 */
#include "isolate.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <linux/bpf.h>

#include <cap-ng.h>

#include "isolate_filter.h"

#include "base/util.h"

#define NEW_NAMESPACES                                                                             \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |             \
	 CLONE_NEWPID | CLONE_NEWNET)

/* --- capabilities ---------------------------------------------------------------------- */

static const unsigned needed[] = {
	CAP_NET_ADMIN,	     /* rules, routes, tables, sysctls, SOCK_DESTROY */
	CAP_SYS_PTRACE,	     /* whose process a socket is: /proc/PID/fd, exe */
	CAP_DAC_READ_SEARCH, /* ... of other users' */
	CAP_SETUID,	     /* the next worker's user */
	CAP_SETGID,	     /* ... and group */
	CAP_KILL,	     /* the end of a worker, which is another user's process */
	CAP_SYS_ADMIN,	     /* the last one: with --netns only, setns() of a new worker */
};

/** keep_needed - of those that we have; a service manager may have given us less than all */
static int keep_needed(bool netns)
{
	const size_t n = ARRAY_SIZE(needed) - !netns;
	bool have[ARRAY_SIZE(needed)];
	int wanted = CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET;

	if (capng_get_caps_process())
		return -EPERM;
	for (size_t i = 0; i < n; i++)
		have[i] = capng_have_capability(CAPNG_PERMITTED, needed[i]);
	capng_clear(CAPNG_SELECT_BOTH);
	for (size_t i = 0; i < n; i++) {
		if (have[i])
			capng_update(CAPNG_ADD, (capng_type_t)wanted, needed[i]);
	}
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	/* The bounding set needs CAP_SETPCAP; no_new_privs makes up for it. */
	capng_apply(CAPNG_SELECT_BOUNDS);
	if (capng_apply(CAPNG_SELECT_CAPS))
		return -EPERM;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -errno : 0;
}

/** raise_nofile - a worker could not raise it without CAP_SYS_RESOURCE; ours stays what it is */
static void raise_nofile(size_t nofile)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) || rl.rlim_max >= nofile)
		return;
	rl.rlim_max = nofile;
	setrlimit(RLIMIT_NOFILE, &rl); /* else a worker makes do with what there is */
}

/* --- system calls ---------------------------------------------------------------------- */

static const int allowed[] = {
	/* waiting */
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(select),
	SCMP_SYS(pselect6),
	SCMP_SYS(epoll_create1),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_pwait2),
	SCMP_SYS(eventfd2),
	SCMP_SYS(signalfd4),
	SCMP_SYS(timerfd_create),
	SCMP_SYS(timerfd_settime),
	SCMP_SYS(timerfd_gettime),
	SCMP_SYS(inotify_init1),
	SCMP_SYS(inotify_add_watch),
	SCMP_SYS(inotify_rm_watch),
	SCMP_SYS(futex),
	SCMP_SYS(sched_yield),
	SCMP_SYS(restart_syscall),
	/* descriptors */
	SCMP_SYS(read),
	SCMP_SYS(readv),
	SCMP_SYS(pread64),
	SCMP_SYS(write),
	SCMP_SYS(writev),
	SCMP_SYS(pwrite64),
	SCMP_SYS(close),
	SCMP_SYS(close_range),
	SCMP_SYS(dup),
	SCMP_SYS(dup2),
	SCMP_SYS(dup3),
	SCMP_SYS(fcntl),
	SCMP_SYS(lseek),
	SCMP_SYS(ftruncate),
	SCMP_SYS(fsync),
	SCMP_SYS(fdatasync),
	SCMP_SYS(flock),
	SCMP_SYS(pipe2),
	SCMP_SYS(memfd_create),
	/* files: journal, log, sysctls, /proc, configuration, names of users, plugins */
	SCMP_SYS(open),
	SCMP_SYS(openat),
	SCMP_SYS(openat2), /* for hooks, as the worker's user */
	SCMP_SYS(setfsuid),
	SCMP_SYS(setfsgid),
	SCMP_SYS(open_by_handle_at), /* a cgroup, by its number */
	SCMP_SYS(access),
	SCMP_SYS(faccessat),
	SCMP_SYS(faccessat2),
	SCMP_SYS(stat),
	SCMP_SYS(lstat),
	SCMP_SYS(fstat),
	SCMP_SYS(newfstatat),
	SCMP_SYS(statx),
	SCMP_SYS(statfs),
	SCMP_SYS(fstatfs),
	SCMP_SYS(readlink),
	SCMP_SYS(readlinkat),
	SCMP_SYS(getdents64),
	SCMP_SYS(getcwd),
	SCMP_SYS(chdir),
	SCMP_SYS(fchdir),
	SCMP_SYS(umask),
	SCMP_SYS(mkdir),
	SCMP_SYS(mkdirat),
	SCMP_SYS(rmdir),
	SCMP_SYS(unlink),
	SCMP_SYS(unlinkat),
	SCMP_SYS(rename),
	SCMP_SYS(renameat),
	SCMP_SYS(renameat2),
	SCMP_SYS(chmod),
	SCMP_SYS(fchmod),
	SCMP_SYS(fchmodat),
	/* sockets; socket() itself is below */
	SCMP_SYS(socketpair),
	SCMP_SYS(bind),
	SCMP_SYS(listen),
	SCMP_SYS(connect),
	SCMP_SYS(accept),
	SCMP_SYS(accept4),
	SCMP_SYS(getsockname),
	SCMP_SYS(getpeername),
	SCMP_SYS(setsockopt),
	SCMP_SYS(getsockopt),
	SCMP_SYS(shutdown),
	SCMP_SYS(sendto),
	SCMP_SYS(sendmsg),
	SCMP_SYS(sendmmsg),
	SCMP_SYS(recvfrom),
	SCMP_SYS(recvmsg),
	SCMP_SYS(recvmmsg),
	/* memory; mappings are below */
	SCMP_SYS(brk),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(mlock),
	SCMP_SYS(membarrier),
	/* clocks, random numbers, facts */
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_getres),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(time),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(nanosleep),
	SCMP_SYS(getrandom),
	SCMP_SYS(getrusage),
	SCMP_SYS(sysinfo),
	SCMP_SYS(uname),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(sched_setaffinity),
	SCMP_SYS(getcpu),
	/* children, and what they do before they lock themselves down; clone() is below */
	SCMP_SYS(fork),
	SCMP_SYS(vfork),
	SCMP_SYS(wait4),
	SCMP_SYS(waitid),
	SCMP_SYS(kill),
	SCMP_SYS(tgkill),
	SCMP_SYS(pidfd_open),
	SCMP_SYS(pidfd_send_signal),
	SCMP_SYS(pidfd_getfd),
	SCMP_SYS(setsid),
	SCMP_SYS(setgroups),
	SCMP_SYS(setresuid),
	SCMP_SYS(setresgid),
	SCMP_SYS(capget),
	SCMP_SYS(capset),
	SCMP_SYS(prctl),
	SCMP_SYS(arch_prctl),
	SCMP_SYS(getrlimit),
	SCMP_SYS(setrlimit),
	SCMP_SYS(prlimit64),
	SCMP_SYS(seccomp),
	SCMP_SYS(landlock_create_ruleset),
	SCMP_SYS(landlock_restrict_self),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(set_tid_address),
	SCMP_SYS(rseq),
	/* ourselves; the way out */
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(getppid),
	SCMP_SYS(getpgid),
	SCMP_SYS(getsid),
	SCMP_SYS(getuid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getegid),
	SCMP_SYS(getgroups),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigpending),
	SCMP_SYS(rt_sigtimedwait),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
};

/* The sanitizer's search for leaks traces its own process at the end. */
static const int allowed_asan[] = {SCMP_SYS(ptrace), SCMP_SYS(mprotect), SCMP_SYS(mincore),
				   SCMP_SYS(getdents)};

static const int deadly[] = {
	SCMP_SYS(execve),	   SCMP_SYS(execveat),	      SCMP_SYS(process_vm_readv),
	SCMP_SYS(mount),	   SCMP_SYS(umount2),	      SCMP_SYS(process_vm_writev),
	SCMP_SYS(move_mount),	   SCMP_SYS(open_tree),	      SCMP_SYS(fsopen),
	SCMP_SYS(pivot_root),	   SCMP_SYS(chroot),	      SCMP_SYS(unshare),
	SCMP_SYS(init_module),	   SCMP_SYS(finit_module),    SCMP_SYS(delete_module),
	SCMP_SYS(kexec_load),	   SCMP_SYS(kexec_file_load), SCMP_SYS(reboot),
	SCMP_SYS(swapon),	   SCMP_SYS(userfaultfd),     SCMP_SYS(io_uring_setup),
	SCMP_SYS(perf_event_open), SCMP_SYS(keyctl),	      SCMP_SYS(add_key),
	SCMP_SYS(request_key),
};

static int allow_sockets(scmp_filter_ctx ctx)
{
	static const unsigned family[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
	int r = 0;

	for (size_t i = 0; !r && i < ARRAY_SIZE(family); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
				     SCMP_A0_32(SCMP_CMP_EQ, family[i], 0));
	return r;
}

/** allow_memory - what can be written can't be run: plugins and libraries need no such thing */
static int allow_memory(scmp_filter_ctx ctx)
{
	int r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				 SCMP_A2_32(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));

	if (!r)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				     SCMP_A2_32(SCMP_CMP_MASKED_EQ, PROT_WRITE, 0));
	if (!r && !WITH_ASAN)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
				     SCMP_A2_32(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	return r;
}

/**
 * allow_clone - without new namespaces; clone3() hides its flags, so it does not exist
 *
 * Flags are the first argument everywhere but on s390.
 */
static int allow_clone(scmp_filter_ctx ctx)
{
	return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
				SCMP_A0_32(SCMP_CMP_MASKED_EQ, NEW_NAMESPACES, 0));
}

/** allow_ioctl - all but typing into the terminal that we were started from */
static int allow_ioctl(scmp_filter_ctx ctx)
{
	return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				SCMP_A1_32(SCMP_CMP_NE, TIOCSTI, 0));
}

/** allow_bpf - elements of maps and rounds of iterators that are there; nothing new to run */
static int allow_bpf(scmp_filter_ctx ctx)
{
	static const unsigned cmd[] = {
		BPF_MAP_LOOKUP_ELEM,  BPF_MAP_UPDATE_ELEM,  BPF_MAP_DELETE_ELEM,
		BPF_MAP_GET_NEXT_KEY, BPF_MAP_LOOKUP_BATCH, BPF_MAP_LOOKUP_AND_DELETE_ELEM,
		BPF_ITER_CREATE,
	};
	int r = 0;

	for (size_t i = 0; !r && i < ARRAY_SIZE(cmd); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(bpf), 1,
				     SCMP_A0_32(SCMP_CMP_EQ, cmd[i], 0));
	return r;
}

static int rule_setns(scmp_filter_ctx ctx, bool netns)
{
	if (!netns)
		return seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, SCMP_SYS(setns), 0);
	return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(setns), 1,
				SCMP_A1_32(SCMP_CMP_EQ, CLONE_NEWNET, 0));
}

static int fill_filter(scmp_filter_ctx ctx, bool netns)
{
	int r = filter_each(ctx, SCMP_ACT_ALLOW, allowed, ARRAY_SIZE(allowed));

	if (!r && WITH_ASAN)
		r = filter_each(ctx, SCMP_ACT_ALLOW, allowed_asan, ARRAY_SIZE(allowed_asan));
	if (!r)
		r = filter_each(ctx, SCMP_ACT_KILL_PROCESS, deadly, ARRAY_SIZE(deadly));
	if (!r)
		r = rule_setns(ctx, netns);
	if (!r)
		r = allow_sockets(ctx);
	if (!r)
		r = allow_memory(ctx);
	if (!r)
		r = allow_clone(ctx);
	if (!r)
		r = allow_ioctl(ctx);
	if (!r)
		r = allow_bpf(ctx);
	return r;
}

int isolate_supervisor_lock(size_t nofile, bool netns, char *err, size_t errsize)
{
	const char *what = "the supervisor can't give up capabilities";
	int r;

	raise_nofile(nofile);
	r = keep_needed(netns);
	if (!r) {
		scmp_filter_ctx ctx = filter_new(SCMP_ACT_ERRNO(ENOSYS));

		what = "the supervisor's system call filter can't be loaded";
		r = ctx ? filter_load(ctx, fill_filter(ctx, netns)) : -ENOMEM;
	}
	if (r)
		snprintf(err, errsize, "%s: %s", what, strerror(-r));
	return r;
}
