/* SPDX-License-Identifier: MIT */
/*
 * engine_selftest: is the packaged lwIP the one that tcp_engine.c was written for?
 *
 * A struct that has moved a field or a function that is no longer called through
 * the linkage table would show late and strangely. So at start one connection
 * per family and direction is forged: handshake, bytes in, bytes out, reset.
 */
#include "engine_selftest.h"

#include <netinet/in.h>
#include <string.h>

#include "base/util.h"

#define APP_PORT 40000
#define NET_PORT 80
#define APP_ISS	 0x10000000u
#define BYTES	 1000

static int capture_write(void *ctx, const struct virtio_net_hdr *vh, const struct iovec *iov,
			 int iovcnt)
{
	struct engine_capture *cap = ctx;

	(void)vh;
	cap->count++;
	cap->len = 0;
	for (int i = 0; i < iovcnt; i++) {
		if (iov[i].iov_len > sizeof(cap->last) - cap->len)
			return -1;
		memcpy(cap->last + cap->len, iov[i].iov_base, iov[i].iov_len);
		cap->len += (unsigned)iov[i].iov_len;
	}
	return 0;
}

void engine_capture_init(struct engine_capture *cap)
{
	memset(cap, 0, sizeof(*cap));
	cap->sink.write = capture_write;
	cap->sink.ctx = cap;
}

/** forge - a segment of the test's program in @buf, as front.c would have parsed it */
static struct packet forge(struct pktbuf *buf, bool v6, uint8_t flags, uint32_t seq, uint32_t ack,
			   size_t len)
{
	static const uint8_t app4[4] = {192, 0, 2, 1}, net4[4] = {198, 51, 100, 1};
	static const uint8_t app6[16] = {0x20, 1, 0xd, 0xb8, [15] = 1};
	static const uint8_t net6[16] = {0x20, 1, 0xd, 0xb8, [15] = 2};
	size_t iphl = v6 ? 40 : 20;
	struct packet p = {
		.data = buf->data,
		.len = iphl + 20 + len,
		.version = v6 ? 6 : 4,
		.proto = IPPROTO_TCP,
		.l4 = (uint16_t)iphl,
		.l4len = (uint16_t)(20 + len),
		.payload = (uint16_t)(iphl + 20),
		.app = {v6 ? addr_from_v6(app6) : addr_from_v4(app4), APP_PORT},
		.net = {v6 ? addr_from_v6(net6) : addr_from_v4(net4), NET_PORT},
		.tcp = {.seq = seq, .ack = ack, .wnd = 0xffff, .flags = flags, .hdrlen = 20},
		.csum_trusted = true,
	};

	memset(buf->data, 0, p.payload);
	for (size_t i = 0; i < len; i++)
		buf->data[p.payload + i] = (uint8_t)(i * 7);
	return p;
}

static const uint8_t *sent_tcp(const struct engine_capture *cap, bool v6)
{
	return cap->last + (v6 ? 40 : 20);
}

/** bytes_in - data from the program arrive, are acknowledged once */
static bool bytes_in(struct engine_capture *cap, struct engine_conn *c, struct pktbuf *buf, bool v6,
		     uint32_t ack)
{
	struct packet p = forge(buf, v6, TCPF_ACK | TCPF_PSH, APP_ISS + 1, ack, BYTES);
	unsigned before = cap->count;
	struct iovec iov;

	if (!(engine_input(c, &p, buf) & ENGINE_EV_DATA) || engine_peek(c, &iov, 1) != 1 ||
	    iov.iov_len != BYTES ||
	    ((const uint8_t *)iov.iov_base)[BYTES - 1] != (uint8_t)((BYTES - 1) * 7))
		return false;
	engine_consume(c, BYTES);
	engine_flush_acks();
	return cap->count == before + 1 && get_be32(sent_tcp(cap, v6) + 8) == APP_ISS + 1 + BYTES;
}

/** bytes_out - data to the program leave at once, where they belong */
static bool bytes_out(struct engine_capture *cap, struct engine_conn *c, bool v6, uint32_t seq)
{
	uint8_t data[BYTES];

	memset(data, 0x5a, sizeof(data));
	return engine_write(c, data, 500) == 500 && get_be32(sent_tcp(cap, v6) + 4) == seq &&
	       cap->len == (v6 ? 60u : 40u) + 500 && cap->last[cap->len - 1] == 0x5a;
}

static bool connection(struct engine_capture *cap, struct pktbuf *buf, bool v6)
{
	struct packet p = forge(buf, v6, TCPF_SYN, APP_ISS, 0, 0);
	const uint8_t *tcp = sent_tcp(cap, v6);
	struct engine_conn *c;
	uint32_t iss;
	bool ok;

	if (engine_accept(&p, 0, &c))
		return false;
	iss = get_be32(tcp + 4);
	ok = tcp[13] == (TCPF_SYN | TCPF_ACK) && get_be32(tcp + 8) == APP_ISS + 1;
	p = forge(buf, v6, TCPF_ACK, APP_ISS + 1, iss + 1, 0);
	ok = ok && engine_input(c, &p, buf) & ENGINE_EV_OPEN &&
	     bytes_in(cap, c, buf, v6, iss + 1) && bytes_out(cap, c, v6, iss + 1);
	p = forge(buf, v6, TCPF_RST, APP_ISS + 1 + BYTES, 0, 0);
	ok = ok && engine_input(c, &p, buf) & ENGINE_EV_RESET;
	engine_free(c);
	return ok;
}

/** opened - a connection that we open is answered, carries bytes in, and is reset */
static bool opened(struct engine_capture *cap, struct pktbuf *buf, bool v6)
{
	struct packet p = forge(buf, v6, TCPF_SYN | TCPF_ACK, APP_ISS, 0, 0);
	const uint8_t *tcp = sent_tcp(cap, v6);
	struct engine_conn *c;
	uint32_t iss;
	bool ok;

	if (engine_connect(&p.app, &p.net, 0, &c))
		return false;
	iss = get_be32(tcp + 4);
	ok = tcp[13] == TCPF_SYN && get_be16(tcp) == NET_PORT && get_be16(tcp + 2) == APP_PORT;
	p.tcp.ack = iss + 1;
	ok = ok && engine_input(c, &p, buf) & ENGINE_EV_OPEN && tcp[13] == TCPF_ACK &&
	     get_be32(tcp + 8) == APP_ISS + 1 && bytes_in(cap, c, buf, v6, iss + 1);
	p = forge(buf, v6, TCPF_RST, APP_ISS + 1 + BYTES, 0, 0);
	ok = ok && engine_input(c, &p, buf) & ENGINE_EV_RESET;
	engine_free(c);
	return ok;
}

bool engine_selftest(struct engine_capture *cap, bool v6)
{
	struct pktbuf *buf = pktbuf_get();
	bool ok;

	if (!buf)
		return false;
	ok = connection(cap, buf, v6) && opened(cap, buf, v6);
	pktbuf_put(buf);
	return ok;
}
