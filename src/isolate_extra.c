/* SPDX-License-Identifier: MIT */
/* isolate: system calls that hooks need beside the worker's own, and those that none may have. */
#include "isolate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "isolate_filter.h"

#include "base/util.h"

#define EXTRA_MAX     64
#define CALL_NAME_MAX 64

static int extra[EXTRA_MAX];
static size_t n_extra;

/* What takes the worker's walls down, whatever it is asked for. */
static const char *const never[] = {
	/* files: weir_host.open() is the way */
	"open",
	"openat",
	"openat2",
	"creat",
	"open_by_handle_at",
	"name_to_handle_at",
	"link",
	"linkat",
	"symlink",
	"symlinkat",
	"rename",
	"renameat",
	"renameat2",
	"unlink",
	"unlinkat",
	"mkdir",
	"mkdirat",
	"rmdir",
	"mknod",
	"mknodat",
	"chmod",
	"fchmodat",
	"chown",
	"fchownat",
	"truncate",
	"setxattr",
	"lsetxattr",
	"chroot",
	"chdir",
	"fchdir",
	/* programs, and other processes */
	"execve",
	"execveat",
	"fork",
	"vfork",
	"clone",
	"clone3",
	"ptrace",
	"process_vm_readv",
	"process_vm_writev",
	"process_madvise",
	"kill",
	"tkill",
	"tgkill",
	"rt_sigqueueinfo",
	"rt_tgsigqueueinfo",
	"pidfd_open",
	"pidfd_getfd",
	"pidfd_send_signal",
	"kcmp",
	/* who we are */
	"setuid",
	"setgid",
	"setreuid",
	"setregid",
	"setresuid",
	"setresgid",
	"setgroups",
	"setfsuid",
	"setfsgid",
	"capset",
	"setns",
	"unshare",
	"prctl",
	"seccomp",
	"personality",
	"landlock_restrict_self",
	"prlimit64",
	"setrlimit",
	"setpgid",
	"setsid",
	/* memory that is written and then run */
	"mmap",
	"mprotect",
	"pkey_mprotect",
	"memfd_create",
	"memfd_secret",
	"userfaultfd",
	"remap_file_pages",
	"modify_ldt",
	/* sockets of other kinds */
	"socket",
	"socketpair",
	/* the kernel */
	"mount",
	"umount2",
	"move_mount",
	"open_tree",
	"fsopen",
	"fspick",
	"fsmount",
	"mount_setattr",
	"pivot_root",
	"swapon",
	"swapoff",
	"reboot",
	"kexec_load",
	"kexec_file_load",
	"init_module",
	"finit_module",
	"delete_module",
	"bpf",
	"perf_event_open",
	"io_uring_setup",
	"io_uring_enter",
	"io_uring_register",
	"keyctl",
	"add_key",
	"request_key",
	"iopl",
	"ioperm",
	"ioctl",
	"fcntl",
	"acct",
	"quotactl",
	"settimeofday",
	"clock_settime",
	"clock_adjtime",
	"adjtimex",
	"sethostname",
	"setdomainname",
	"syslog",
	"lookup_dcookie",
	"fanotify_init",
	"inotify_init",
	"inotify_init1",
};

static int allow_one(const char *name, char *err, size_t errsize)
{
	const int nr = seccomp_syscall_resolve_name(name);

	if (nr == __NR_SCMP_ERROR) {
		snprintf(err, errsize, "there is no system call '%s'", name);
		return -EINVAL;
	}
	for (size_t i = 0; i < ARRAY_SIZE(never); i++) {
		if (strcmp(never[i], name))
			continue;
		snprintf(err, errsize, "the system call '%s' is one that no worker may make", name);
		return -EINVAL;
	}
	if (n_extra == EXTRA_MAX) {
		snprintf(err, errsize, "there are too many system calls");
		return -EINVAL;
	}
	extra[n_extra++] = nr;
	return 0;
}

int isolate_worker_allow(const char *names, char *err, size_t errsize)
{
	char name[CALL_NAME_MAX];
	int rc = 0;

	while (!rc && *(names += strspn(names, " "))) {
		const size_t n = strcspn(names, " ");

		snprintf(name, sizeof(name), "%.*s", (int)MIN(n, sizeof(name)), names);
		rc = allow_one(name, err, errsize);
		names += n;
	}
	return rc;
}

int filter_extra(scmp_filter_ctx ctx)
{
	return filter_each(ctx, SCMP_ACT_ALLOW, extra, n_extra);
}
