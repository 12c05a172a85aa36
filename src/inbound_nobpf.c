/* SPDX-License-Identifier: MIT */
/* inbound_nobpf: stands in for inbound_bpf.c where clang or libbpf was missing when weir was built.
 */
#include "inbound_bpf.h"

#include <errno.h>

#include "base/util.h"

int inbound_bpf_open(int sock_fd, uint32_t worker, struct inbound_bpf **out, char *err,
		     size_t errsize)
{
	(void)sock_fd, (void)worker;
	*out = NULL;
	str_copy(err, errsize, "this weir was built without BPF (clang and libbpf are needed)");
	return -EOPNOTSUPP;
}

void inbound_bpf_free(struct inbound_bpf *ib)
{
	(void)ib;
}

int inbound_bpf_door(struct inbound_bpf *ib, enum ib_door door, int fd)
{
	(void)ib, (void)door, (void)fd;
	return -EOPNOTSUPP;
}

int inbound_bpf_select(struct inbound_bpf *ib, const struct inbound_select *s)
{
	(void)ib, (void)s;
	return -EOPNOTSUPP;
}

int inbound_bpf_cgroup(struct inbound_bpf *ib, const struct inbound_select *s, unsigned index,
		       uint64_t id)
{
	(void)ib, (void)s, (void)index, (void)id;
	return -EOPNOTSUPP;
}

int inbound_bpf_own(struct inbound_bpf *ib, const struct addr *own, unsigned n)
{
	(void)ib, (void)own, (void)n;
	return -EOPNOTSUPP;
}

int inbound_bpf_steer(struct inbound_bpf *ib, unsigned tun)
{
	(void)ib, (void)tun;
	return -EOPNOTSUPP;
}

int inbound_bpf_scan(struct inbound_bpf *ib)
{
	(void)ib;
	return -EOPNOTSUPP;
}

int inbound_bpf_fd(const struct inbound_bpf *ib)
{
	(void)ib;
	return -1;
}

int inbound_bpf_events(struct inbound_bpf *ib, void (*fn)(void *ctx, const struct inbound_event *e),
		       void *ctx)
{
	(void)ib, (void)fn, (void)ctx;
	return 0;
}
