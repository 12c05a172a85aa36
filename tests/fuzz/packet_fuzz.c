/* SPDX-License-Identifier: MIT */
/*
 * packet: any bytes. What the parser takes must lie in the buffer, header behind
 * header, and every function that works on a view must be safe on it.
 * LINK: src/packet.o stack/icmp.o stack/csum.o src/base/addr.o src/base/util.o
 */
#include "packet.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/forge.h"
#include "base/util.h"
#include "fuzz_main.h"

/** devour - read each byte that is handed over, so that a sanitizer sees where it lies */
static int devour(void *ctx, const struct virtio_net_hdr *vh, const struct iovec *iov, int iovcnt)
{
	unsigned *sum = ctx;

	*sum += vh->flags;
	for (int i = 0; i < iovcnt; i++)
		for (size_t k = 0; k < iov[i].iov_len; k++)
			*sum += ((const uint8_t *)iov[i].iov_base)[k];
	return 0;
}

static void check_view(const struct packet *p, size_t size)
{
	weir_assert(p->len <= size && p->l4 + (size_t)p->l4len == p->len);
	weir_assert(p->payload >= p->l4 && p->payload <= p->len);
	weir_assert(addr_is_v4(&p->app.addr) == (p->version == 4));
	weir_assert(addr_is_v4(&p->net.addr) == (p->version == 4));
	weir_assert(!addr_is_loopback(&p->app.addr) && !addr_is_loopback(&p->net.addr));
	weir_assert(!p->is_frag || p->l4len);
	weir_assert(!p->is_frag || p->version == 4 || p->data[p->frag_link] == IPPROTO_FRAGMENT);
	if (!p->is_frag && p->proto == IPPROTO_TCP)
		weir_assert(p->tcp.hdrlen >= 20 && p->payload == p->l4 + p->tcp.hdrlen);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct icmp_error e = {.type = 3, .code = 3};
	static unsigned sum;
	const struct stack_sink sink = {devour, &sum};
	uint8_t *copy = malloc(size + !size);
	struct packet p;

	if (!copy)
		return 0;
	if (size)
		memcpy(copy, data, size);
	/* a header checksum by chance is rare: make it right, so that more is reached */
	if (size >= 20 && copy[0] >> 4 == 4 && (copy[0] & 0xfU) * 4 <= size &&
	    (copy[0] & 0xf) >= 5 && copy[10] & 1) {
		forge_put16(copy + 10, 0);
		forge_put16(copy + 10, ~naive_sum(0, copy, (copy[0] & 0xfU) * 4) & 0xffff);
	}
	if (packet_parse(&p, copy, size) == PACKET_OK) {
		check_view(&p, size);
		e.from = p.net.addr;
		icmp_send_error(&sink, &p, &e);
		if (!p.is_frag && p.proto == IPPROTO_TCP) {
			sum += packet_tcp_mss(&p);
			icmp_reset_tcp(&sink, &p);
		}
	}
	free(copy);
	return 0;
}

#ifdef FUZZ_STANDALONE
static size_t fuzz_seed(unsigned n, uint8_t *out, size_t room)
{
	static const uint8_t pad[8] = {0, 0, 1, 4}, mss[4] = {2, 4, 5, 180};
	static struct forged f, part;
	bool v6 = n % 2;
	const char *from = v6 ? "2001:db8::1" : "192.0.2.1", *to = v6 ? "2001:db8::2" : "192.0.2.2";

	switch (n / 2) {
	case 0:
		forge_udp(&f, from, to, 40);
		break;
	case 1:
		forge_tcp(&f, from, to, TCPF_SYN, 1, 0, mss, sizeof(mss), 0);
		break;
	case 2:
		forge_icmp(&f, from, to, v6 ? 128 : 8, 0, 16);
		break;
	case 3:
		forge_udp(&part, from, to, 100);
		forge_frag(&f, &part, 7, 8, 80, true);
		break;
	case 4:
		forge_udp(&f, from, to, 20);
		if (v6) {
			forge_ext(&f, IPPROTO_DSTOPTS, pad, 8);
			forge_ext(&f, IPPROTO_FRAGMENT, (const uint8_t[8]){0}, 8);
			forge_ext(&f, IPPROTO_HOPOPTS, pad, 8);
		}
		break;
	default:
		return 0;
	}
	memcpy(out, f.b, MIN(f.len, room));
	return MIN(f.len, room);
}
#endif
