/* SPDX-License-Identifier: MIT */
/*
 * front: a script of reads from the TUN. Each step is four bytes and what they
 * say: how to read the bytes that follow (raw, or with the checksums made right),
 * how far the clock goes, and how many bytes they are. Whatever comes: no buffer
 * is lost, none is held above the bound, what passes is whole and verified.
 * LINK: stack/front.o stack/reass.o stack/icmp.o stack/pktbuf.o stack/csum.o src/packet.o
 * LINK: src/base/addr.o src/base/hash.o src/base/util.o
 */
#include "stack.h"

#include <stdlib.h>
#include <string.h>

#include "../unit/forge.h"
#include "base/clock.h"
#include "base/util.h"
#include "fuzz_main.h"

#define STEP_HDR  4
#define BYTES_MAX (400 * 1024) /* of reassembly: a handful of queues, so that some go */

static int check_out(void *ctx, const struct virtio_net_hdr *vh, const struct iovec *iov,
		     int iovcnt)
{
	uint8_t b[2048];
	size_t len = 0;
	struct packet p;

	(void)ctx;
	(void)vh;
	for (int i = 0; i < iovcnt; i++) {
		weir_assert(len + iov[i].iov_len <= sizeof(b));
		memcpy(b + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	weir_assert(packet_parse(&p, b, len) == PACKET_OK);
	return 0;
}

/** mend - make the IPv4 header checksum and length right, which chance does not */
static void mend(uint8_t *b, size_t len)
{
	size_t hdr = len ? (b[0] & 0xfU) * 4 : 0;

	if (len >= 20 && b[0] >> 4 == 4 && hdr >= 20 && hdr <= len) {
		forge_put16(b + 2, (unsigned)len);
		forge_put16(b + 10, 0);
		forge_put16(b + 10, ~naive_sum(0, b, hdr) & 0xffff);
	}
	if (len >= 40 && b[0] >> 4 == 6)
		forge_put16(b + 4, (unsigned)(len - 40));
}

static void check_packet(const struct packet *p, const struct pktbuf *whole)
{
	weir_assert(p->data >= whole->data && p->data + p->len <= whole->data + PKTBUF_SIZE);
	weir_assert(!p->is_frag && p->l4 + (size_t)p->l4len == p->len && p->payload <= p->len);
	weir_assert(!p->gso_type == !p->gso_size);
}

static void step(struct front *f, uint8_t how, const uint8_t *data, size_t len, uint64_t now)
{
	struct pktbuf *buf = pktbuf_get(), *whole;
	size_t off = PKTBUF_SIZE - sizeof(struct virtio_net_hdr) - len;
	struct packet p;

	if (!buf)
		return;
	/* at the very end of the buffer: a sanitizer watches what lies behind */
	memset(buf->data + off, 0, sizeof(struct virtio_net_hdr));
	if (how & 1 && len >= sizeof(struct virtio_net_hdr)) {
		off += sizeof(struct virtio_net_hdr); /* the header is part of the input */
		memcpy(buf->data + off, data, len);
	} else {
		memcpy(buf->data + off + sizeof(struct virtio_net_hdr), data, len);
		if (how & 2)
			mend(buf->data + off + sizeof(struct virtio_net_hdr), len);
	}
	if (front_read(f, buf, off, PKTBUF_SIZE - off, now, &p, &whole) == FRONT_PACKET)
		check_packet(&p, whole);
	if (whole != buf)
		pktbuf_put(whole);
	pktbuf_put(buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct front_config cfg = {BYTES_MAX, 30 * NSEC_PER_SEC};
	static const struct stack_sink sink = {check_out, NULL};
	struct front *f = front_new(&cfg, &sink);
	uint64_t now = NSEC_PER_SEC;

	if (!f)
		return 0;
	while (size >= STEP_HDR) {
		size_t len = MIN((size_t)forge_get16(data + 2), size - STEP_HDR);

		now += data[1] * (NSEC_PER_SEC / 4);
		step(f, data[0], data + STEP_HDR, len, now);
		weir_assert(pktbuf_live() * sizeof(struct pktbuf) <= BYTES_MAX);
		data += STEP_HDR + len;
		size -= STEP_HDR + len;
	}
	front_tick(f, now);
	front_free(f);
	weir_assert(!pktbuf_live());
	return 0;
}

#ifdef FUZZ_STANDALONE
static size_t add_step(uint8_t *out, size_t at, const struct forged *f)
{
	out[at] = 2;
	out[at + 1] = 0;
	forge_put16(out + at + 2, (unsigned)f->len);
	memcpy(out + at + STEP_HDR, f->b, f->len);
	return at + STEP_HDR + f->len;
}

/** fuzz_seed - datagrams in fragments, in several orders; one that comes whole */
static size_t fuzz_seed(unsigned n, uint8_t *out, size_t room)
{
	static struct forged whole, part;
	bool v6 = n % 2;
	size_t at = 0, cut = 80;

	(void)room; /* all of them are far shorter */
	forge_udp(&whole, v6 ? "2001:db8::1" : "192.0.2.1", v6 ? "2001:db8::2" : "192.0.2.2", 300);
	switch (n / 2) {
	case 0:
		return add_step(out, 0, &whole);
	case 1:
		for (size_t from = 0; from < 308; from += cut) {
			forge_frag(&part, &whole, 1, from, MIN(from + cut, (size_t)308),
				   from + cut < 308);
			at = add_step(out, at, &part);
		}
		return at;
	case 2:
		for (size_t from = 240; from <= 240; from -= cut) {
			forge_frag(&part, &whole, 1, from, MIN(from + cut, (size_t)308),
				   from + cut < 308);
			at = add_step(out, at, &part);
		}
		return at;
	case 3:
		for (uint32_t id = 0; id < 12; id++) {
			forge_frag(&part, &whole, id, 0, 104, true);
			at = add_step(out, at, &part);
		}
		return at;
	default:
		return 0;
	}
}
#endif
