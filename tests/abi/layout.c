/* SPDX-License-Identifier: MIT */
/*
 * layout: where each member of the ABI's structs lies, as version 1 had them. Built with the header
 * of that version and with today's, it must say the same.
 */
#include <stdio.h>

#include "weir/hook.h"

#define AT(s, m) printf("%s.%s %zu\n", #s, #m, offsetof(struct s, m))

int main(void)
{
	printf("abi %d\n", WEIR_HOOK_ABI);
	AT(weir_owner, size);
	AT(weir_owner, uid);
	AT(weir_owner, gid);
	AT(weir_owner, socket_uid);
	AT(weir_owner, pid);
	AT(weir_owner, start_ns);
	AT(weir_owner, user);
	AT(weir_owner, comm);
	AT(weir_owner, exe);
	AT(weir_owner, cmdline);
	AT(weir_owner, cgroup);
	AT(weir_owner, source);
	AT(weir_owner, n_parents);
	AT(weir_owner, parent_comm);
	AT(weir_owner, parent_pid);
	AT(weir_endpoint, ip);
	AT(weir_endpoint, bytes);
	AT(weir_endpoint, n_bytes);
	AT(weir_endpoint, port);
	AT(weir_info, size);
	AT(weir_info, id);
	AT(weir_info, proto);
	AT(weir_info, inbound);
	AT(weir_info, app);
	AT(weir_info, net);
	AT(weir_info, owner);
	AT(weir_info, host);
	AT(weir_info, verdict);
	AT(weir_info, rule);
	AT(weir_info, args);
	AT(weir_info, start_ns);
	AT(weir_info, bytes_up);
	AT(weir_info, bytes_down);
	AT(weir_info, packets_up);
	AT(weir_info, packets_down);
	AT(weir_info, reason);
	AT(weir_payload, size);
	AT(weir_payload, dir);
	AT(weir_payload, flags);
	AT(weir_payload, data);
	AT(weir_payload, len);
	AT(weir_payload, offset);
	AT(weir_datagram, size);
	AT(weir_datagram, dir);
	AT(weir_datagram, data);
	AT(weir_datagram, len);
	AT(weir_listen, size);
	AT(weir_listen, proto);
	AT(weir_listen, ended);
	AT(weir_listen, at);
	AT(weir_listen, owner);
	AT(weir_host, size);
	AT(weir_host, abi);
	AT(weir_host, info);
	AT(weir_host, set_data);
	AT(weir_host, data);
	AT(weir_host, find);
	AT(weir_host, replace);
	AT(weir_host, inject);
	AT(weir_host, close);
	AT(weir_host, resume);
	AT(weir_host, decide);
	AT(weir_host, done);
	AT(weir_host, learn);
	AT(weir_host, learn_done);
	AT(weir_host, tag);
	AT(weir_host, event);
	AT(weir_host, log);
	AT(weir_host, now);
	AT(weir_host, timer);
	AT(weir_host, timer_stop);
	AT(weir_host, watch);
	AT(weir_host, watch_set);
	AT(weir_host, watch_stop);
	AT(weir_host, open);
	AT(weir_hook, size);
	AT(weir_hook, abi);
	AT(weir_hook, name);
	AT(weir_hook, wants);
	AT(weir_hook, help);
	AT(weir_hook, default_key);
	AT(weir_hook, load);
	AT(weir_hook, config);
	AT(weir_hook, ready);
	AT(weir_hook, locked);
	AT(weir_hook, unload);
	AT(weir_hook, reload);
	AT(weir_hook, listen);
	AT(weir_hook, flow_open);
	AT(weir_hook, payload);
	AT(weir_hook, datagram);
	AT(weir_hook, half_close);
	AT(weir_hook, name_learned);
	AT(weir_hook, flow_close);
	AT(weir_hook, report);
	AT(weir_hook, paths);
	AT(weir_hook, syscalls);
	AT(weir_hook, process);
	AT(weir_hook, connected);
	printf("%d %d %d %d %d %u %u %u %u %u\n", WEIR_PASS, WEIR_BLOCK, WEIR_DROP, WEIR_PEND,
	       WEIR_ERROR, WEIR_WANTS_PAYLOAD, WEIR_WANTS_DATAGRAMS, WEIR_WANTS_NAMES,
	       WEIR_WANTS_LISTENS, WEIR_LAST);
	printf("%d %d %u %u\n", WEIR_UP, WEIR_DOWN, WEIR_READABLE, WEIR_WRITABLE);
	return 0;
}
