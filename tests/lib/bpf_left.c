/* SPDX-License-Identifier: MIT */
/*
 * bpf_left: prints how many BPF programs the kernel holds that are about this network namespace.
 *
 * weir's programs know the namespace by its cookie, which stands in their read-only data: counted
 * is each program that uses a map of one element with these eight bytes in it. So whatever else
 * runs on the machine, another weir too, is left out. Needs root.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

#define MAPS_MAX  32
#define VALUE_MAX 65536

static int bpf(int cmd, union bpf_attr *a)
{
	return (int)syscall(SYS_bpf, cmd, a, sizeof(*a));
}

static int info_of(int fd, void *info, uint32_t len)
{
	union bpf_attr a = {
		.info = {.bpf_fd = (uint32_t)fd, .info = (uintptr_t)info, .info_len = len}};

	return bpf(BPF_OBJ_GET_INFO_BY_FD, &a);
}

static int fd_of(int cmd, uint32_t id)
{
	union bpf_attr a = {.prog_id = id}; /* the same place as map_id */

	return bpf(cmd, &a);
}

/** map_names - does the only element of map @id contain @cookie? */
static int map_names(uint32_t id, uint64_t cookie)
{
	static unsigned char value[VALUE_MAX];
	struct bpf_map_info info = {0};
	uint32_t zero = 0;
	union bpf_attr a = {.key = (uintptr_t)&zero, .value = (uintptr_t)value};
	int fd = fd_of(BPF_MAP_GET_FD_BY_ID, id), found = 0;

	if (fd < 0)
		return 0;
	a.map_fd = (uint32_t)fd;
	if (!info_of(fd, &info, sizeof(info)) && info.type == BPF_MAP_TYPE_ARRAY &&
	    info.max_entries == 1 && info.value_size <= sizeof(value) &&
	    !bpf(BPF_MAP_LOOKUP_ELEM, &a))
		found = memmem(value, info.value_size, &cookie, sizeof(cookie)) != NULL;
	close(fd);
	return found;
}

static int program_names(uint32_t id, uint64_t cookie)
{
	uint32_t maps[MAPS_MAX];
	struct bpf_prog_info info = {.nr_map_ids = MAPS_MAX, .map_ids = (uintptr_t)maps};
	int fd = fd_of(BPF_PROG_GET_FD_BY_ID, id), found = 0;

	if (fd < 0)
		return 0;
	if (!info_of(fd, &info, sizeof(info)))
		for (uint32_t i = 0; i < info.nr_map_ids && i < MAPS_MAX && !found; i++)
			found = map_names(maps[i], cookie);
	close(fd);
	return found;
}

int main(void)
{
	union bpf_attr a = {0};
	uint64_t cookie;
	socklen_t len = sizeof(cookie);
	unsigned n = 0;
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (s < 0 || getsockopt(s, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len)) {
		perror("SO_NETNS_COOKIE");
		return 1;
	}
	while (!bpf(BPF_PROG_GET_NEXT_ID, &a)) {
		n += (unsigned)program_names(a.next_id, cookie);
		a.start_id = a.next_id;
	}
	if (errno != ENOENT) {
		perror("BPF_PROG_GET_NEXT_ID");
		return 1;
	}
	printf("%u\n", n);
	return 0;
}
