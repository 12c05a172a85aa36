/* SPDX-License-Identifier: MIT */
/* owner_nobpf: stands in for owner_bpf.c where clang or libbpf was missing when weir was built. */
#include "owner_bpf.h"

#include <errno.h>

#include "base/util.h"

bool owner_bpf_built(void)
{
	return false;
}

int owner_bpf_open(int sock_fd, struct owner_bpf **out, char *err, size_t errsize)
{
	(void)sock_fd;
	*out = NULL;
	str_copy(err, errsize, "this weir was built without it (clang and libbpf are needed)");
	return -EOPNOTSUPP;
}

void owner_bpf_free(struct owner_bpf *ob)
{
	(void)ob;
}

bool owner_bpf_find(struct owner_bpf *ob, const struct owner_query *q,
		    const struct owner_sock *live, struct owner_answer *a)
{
	(void)ob, (void)q, (void)live, (void)a;
	return false;
}

int owner_bpf_choose(struct owner_bpf *ob, const struct id_range *users, unsigned n)
{
	(void)ob, (void)users, (void)n;
	return -EOPNOTSUPP;
}

const struct owner *owner_bpf_get(const struct owner_bpf *ob, uint32_t id)
{
	(void)ob, (void)id;
	return NULL;
}
