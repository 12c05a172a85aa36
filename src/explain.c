/* SPDX-License-Identifier: MIT */
#include "explain.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>

#include "sysctl.h"

static bool apparmor_restricts(void)
{
	return sysctl_read_long("kernel/apparmor_restrict_unprivileged_userns", 0) == 1;
}

void explain_userns(int err, char *out, size_t size)
{
	if (sysctl_read_long("user/max_user_namespaces", 1) == 0)
		snprintf(out, size,
			 "user namespaces are turned off here: set user.max_user_namespaces=15000 "
			 "with sysctl, or run weir as root");
	else if (sysctl_read_long("kernel/unprivileged_userns_clone", 1) == 0)
		snprintf(out, size,
			 "user namespaces are for root only here: set "
			 "kernel.unprivileged_userns_clone=1 with sysctl, or run weir as root");
	else if ((err == EPERM || err == EACCES) && apparmor_restricts())
		snprintf(out, size,
			 "AppArmor restricts user namespaces here: set "
			 "kernel.apparmor_restrict_unprivileged_userns=0 with sysctl, give weir a "
			 "profile with \"userns,\", or run it as root");
	else if (err == ENOSPC || err == EUSERS)
		snprintf(
			out, size,
			"no more user namespaces allowed: raise user.max_user_namespaces (now %ld) "
			"with sysctl, or nest less deeply",
			sysctl_read_long("user/max_user_namespaces", -1));
	else if (err == EINVAL || err == ENOSYS)
		snprintf(out, size,
			 "this kernel has no user namespaces (CONFIG_USER_NS): run weir as root");
	else
		snprintf(out, size,
			 "no user namespace can be made (%s): a container's system call filter or "
			 "a chroot forbids it; allow it there, or run weir as root with "
			 "CAP_SYS_ADMIN and CAP_NET_ADMIN",
			 strerror(err));
}

void explain_netns(int err, int userns, char *out, size_t size)
{
	if (sysctl_read_long("user/max_net_namespaces", 1) == 0 || err == ENOSPC)
		snprintf(out, size,
			 "no more network namespaces allowed: raise user.max_net_namespaces "
			 "(now %ld) with sysctl",
			 sysctl_read_long("user/max_net_namespaces", -1));
	else if (err == EINVAL || err == ENOSYS)
		snprintf(out, size, "this kernel has no network namespaces (CONFIG_NET_NS)");
	else if (userns)
		explain_userns(err, out, size);
	else
		snprintf(out, size,
			 "no network namespace can be made (%s): CAP_SYS_ADMIN is needed",
			 strerror(err));
}

void explain_tun(int err, char *out, size_t size)
{
	struct stat st;

	if (err == ENOENT || err == ENODEV || err == ENXIO)
		snprintf(out, size,
			 "/dev/net/tun is missing: load the module (modprobe tun), or pass the "
			 "device into this container");
	else if (err == EACCES && !stat("/dev/net/tun", &st))
		snprintf(
			out, size,
			"/dev/net/tun is closed to this user (mode %04o): as root run "
			"\"chmod 0666 /dev/net/tun\", as distributions ship it, or run weir as root",
			(unsigned)st.st_mode & 07777);
	else if (err == EPERM && apparmor_restricts())
		explain_userns(err, out, size);
	else if (err == EPERM)
		snprintf(out, size,
			 "the TUN device is forbidden here (%s): allow device 10:200 in this "
			 "container, with CAP_NET_ADMIN",
			 strerror(err));
	else
		snprintf(out, size, "no TUN device can be made: %s", strerror(err));
}
