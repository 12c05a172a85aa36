/* SPDX-License-Identifier: MIT */
/*
 * nDPI looks at packets, so a head is put before the payload. It is shown one payload of a flow,
 * and its state of the flow is forgotten afterwards: what it finds at all it finds in the first
 * one, four times out of five (docs/weir-hook-names.7.scd has the figures).
 *
 * Left out is what this hook knows better itself, and what nDPI takes random bytes for.
 *
 * The library is loaded when it is asked for: it takes 7 MiB and some milliseconds, which who does
 * not use it should not pay.
 */
#include "names_ndpi.h"

#include <dlfcn.h>
#include <stdio.h>

#include <ndpi/ndpi_api.h>

#define HEAD_MAX    40	 /* IPv4 and TCP, without options */
#define PAYLOAD_MAX 1460 /* as a packet has at most, mostly */

/* The functions in use, with nDPI's own prototypes. */
#define FUNCTIONS(X)                                                                               \
	X(ndpi_get_api_version)                                                                    \
	X(ndpi_init_detection_module)                                                              \
	X(ndpi_set_protocol_detection_bitmask2)                                                    \
	X(ndpi_finalize_initialization)                                                            \
	X(ndpi_exit_detection_module)                                                              \
	X(ndpi_detection_process_packet)                                                           \
	X(ndpi_free_flow_data)                                                                     \
	X(ndpi_get_proto_name)

struct names_ndpi {
	void *library;
	struct ndpi_detection_module_struct *module;
	struct ndpi_flow_struct *flow; /* of one payload, then of another */
	uint64_t now;		       /* counts payloads; ms, as far as nDPI knows */
#define X(name) __typeof__ (&(name))(name);
	FUNCTIONS(X)
#undef X
};

static bool load(struct names_ndpi *nd, const char **err)
{
	nd->library = dlopen(NDPI_SONAME, RTLD_NOW | RTLD_LOCAL);
	if (!nd->library) {
		*err = "there is no " NDPI_SONAME " here";
		return false;
	}
	*err = NDPI_SONAME " is not the one that weir was built for";
#define X(name)                                                                                    \
	*(void **)&nd->name = dlsym(nd->library, #name);                                           \
	if (!nd->name)                                                                             \
		return false;
	FUNCTIONS(X)
#undef X
	return nd->ndpi_get_api_version() == NDPI_API_VERSION;
}

static bool start(struct names_ndpi *nd, const char **err)
{
	static const int without[] = {
		NDPI_PROTOCOL_TLS, NDPI_PROTOCOL_QUIC, NDPI_PROTOCOL_HTTP,
		NDPI_PROTOCOL_DNS, NDPI_PROTOCOL_SSH,  NDPI_PROTOCOL_STUN,
		NDPI_PROTOCOL_RTP, NDPI_PROTOCOL_RTCP, NDPI_PROTOCOL_SKYPE_TEAMS,
	};
	NDPI_PROTOCOL_BITMASK wanted;

	*err = "out of memory";
	nd->flow = calloc(1, sizeof(*nd->flow));
	nd->module =
		nd->ndpi_init_detection_module(ndpi_dont_load_tor_hosts | ndpi_dont_init_libgcrypt);
	if (!nd->flow || !nd->module)
		return false;
	NDPI_BITMASK_SET_ALL(wanted);
	for (size_t i = 0; i < sizeof(without) / sizeof(*without); i++)
		NDPI_BITMASK_DEL(wanted, without[i]);
	nd->ndpi_set_protocol_detection_bitmask2(nd->module, &wanted);
	nd->ndpi_finalize_initialization(nd->module);
	return true;
}

struct names_ndpi *names_ndpi_new(const char **err)
{
	struct names_ndpi *nd = calloc(1, sizeof(*nd));

	*err = "out of memory";
	if (nd && load(nd, err) && start(nd, err))
		return nd;
	names_ndpi_free(nd);
	return NULL;
}

void names_ndpi_free(struct names_ndpi *nd)
{
	if (!nd)
		return;
	if (nd->module)
		nd->ndpi_exit_detection_module(nd->module);
	if (nd->library)
		dlclose(nd->library);
	free(nd->flow);
	free(nd);
}

static void put16(uint8_t *at, size_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

/*
 * put_head - as far as nDPI looks: no checksums
 *
 * The addresses are of nobody, and others each time: nDPI remembers that an address has spoken
 * BitTorrent, and takes all that it says afterwards for the same.
 */
static size_t put_head(const struct names_ndpi_payload *p, uint32_t nobody, size_t payload,
		       uint8_t b[HEAD_MAX])
{
	size_t head = p->udp ? 28 : 40;
	uint32_t other = nobody * 0x85ebca6bu;

	memset(b, 0, head);
	b[0] = 0x45;
	put16(b + 2, head + payload);
	b[8] = 64;
	b[9] = p->udp ? 17 : 6;
	memcpy(b + 12, &nobody, 4);
	memcpy(b + 16, &other, 4);
	put16(b + 20, p->from_port);
	put16(b + 22, p->to_port);
	if (p->udp) {
		put16(b + 24, 8 + payload);
		return head;
	}
	b[27] = b[31] = 1; /* both numbers */
	b[32] = 0x50;
	b[33] = 0x18; /* PSH, ACK */
	put16(b + 34, 0xffff);
	return head;
}

static void set_name(char out[NAMES_NDPI_APP_MAX + 1], const char *name)
{
	size_t i;

	for (i = 0; i < NAMES_NDPI_APP_MAX && name[i]; i++)
		out[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + ('a' - 'A') : name[i]);
	out[i] = '\0';
}

bool names_ndpi_app(struct names_ndpi *nd, const struct names_ndpi_payload *p,
		    char out[NAMES_NDPI_APP_MAX + 1])
{
	uint8_t packet[HEAD_MAX + PAYLOAD_MAX];
	size_t n = p->bytes.len < PAYLOAD_MAX ? p->bytes.len : PAYLOAD_MAX, head;
	ndpi_protocol found;
	uint16_t id;

	if (!n)
		return false;
	head = put_head(p, (uint32_t)++nd->now * 0x9e3779b1u, n, packet);
	memcpy(packet + head, p->bytes.at, n);
	found = nd->ndpi_detection_process_packet(nd->module, nd->flow, packet,
						  (unsigned short)(head + n), nd->now);
	id = found.master_protocol ? found.master_protocol : found.app_protocol;
	nd->ndpi_free_flow_data(nd->flow);
	memset(nd->flow, 0, sizeof(*nd->flow));
	if (id == NDPI_PROTOCOL_UNKNOWN)
		return false;
	set_name(out, nd->ndpi_get_proto_name(nd->module, id));
	return true;
}
