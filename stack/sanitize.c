/* SPDX-License-Identifier: MIT */
#include "sanitize.h"

#include "base/util.h"
#include "packet.h"

#define OPT_END	   0
#define OPT_NOP	   1
#define OPT_MSS	   2
#define OPT_WSCALE 3
#define WSCALE_MAX 14 /* RFC 7323, 2.3 */

#define MSS_DEFAULT_V4 536  /* RFC 9293, 3.7.1 */
#define MSS_DEFAULT_V6 1220 /* 1280 - 60 */
#define HEADERS_V4     40
#define HEADERS_V6     60

/** after - @a comes behind @b in sequence space (RFC 9293, 3.4) */
static bool after(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) > 0;
}

static struct sanitize_result verdict(enum sanitize_verdict v)
{
	return (struct sanitize_result){.verdict = v};
}

/**
 * judge_rst - RFC 5961, 3.2: only the exact number resets; inside the window a
 * challenge ACK makes a real peer repeat it with the right one
 */
static struct sanitize_result judge_rst(const struct sanitize_conn *c, const struct sanitize_seg *s)
{
	struct sanitize_result r = verdict(SANITIZE_PASS);

	if (s->seq == c->rcv_nxt) {
		r.seq = s->seq;
		r.flags = TCPF_RST;
		return r;
	}
	return verdict(s->seq - c->rcv_nxt < c->rcv_wnd ? SANITIZE_ACK : SANITIZE_DROP);
}

/**
 * judge_syn - the SYN again asks for the SYN-ACK again (without data: a fast
 * open payload is sent again anyhow); any other one gets a challenge ACK (RFC 5961, 4.2)
 */
static struct sanitize_result judge_syn(const struct sanitize_conn *c, const struct sanitize_seg *s)
{
	struct sanitize_result r = verdict(SANITIZE_PASS);

	if (!c->syn_rcvd || s->seq != c->rcv_nxt - 1 || s->flags & TCPF_ACK)
		return verdict(SANITIZE_ACK);
	r.seq = s->seq;
	r.flags = TCPF_SYN;
	return r;
}

/** ack_plausible - RFC 5961, 5.2: neither of data never sent nor from long ago */
static bool ack_plausible(const struct sanitize_conn *c, uint32_t ack)
{
	if (c->syn_rcvd)
		return true; /* lwIP answers a wrong one with the RST that is due */
	return !after(ack, c->snd_nxt) && !after(c->snd_una - c->snd_wnd_max, ack);
}

/** is_keepalive - RFC 9293, 3.8.4: one before RCV.NXT, with one garbage byte or none */
static bool is_keepalive(const struct sanitize_conn *c, const struct sanitize_seg *s)
{
	return s->seq == c->rcv_nxt - 1 && s->len <= 1 && !(s->flags & TCPF_FIN) && !c->syn_rcvd &&
	       !c->window_shut;
}

/**
 * trim - cut to what is new and fits (RFC 9293, 3.10.7.4: "tailoring up")
 *
 * The segment starts @old bytes before RCV.NXT. A FIN goes when what is in front of it goes.
 */
static struct sanitize_result trim(const struct sanitize_conn *c, const struct sanitize_seg *s,
				   uint32_t old)
{
	struct sanitize_result r = verdict(SANITIZE_PASS);
	bool fin = s->flags & TCPF_FIN;

	r.seq = c->rcv_nxt;
	r.skip = MIN(old, s->len);
	r.len = s->len - r.skip;
	if (r.len + fin > c->rcv_wnd) {
		fin = false;
		r.len = MIN(r.len, c->rcv_wnd);
		if (!r.len)
			return verdict(SANITIZE_ACK); /* a window probe, or beyond the edge */
	}
	r.flags = (uint8_t)(TCPF_ACK | (s->flags & TCPF_PSH) | (fin ? TCPF_FIN : 0));
	return r;
}

struct sanitize_result sanitize_segment(const struct sanitize_conn *c, const struct sanitize_seg *s)
{
	uint32_t seglen = s->len + !!(s->flags & TCPF_FIN);
	uint32_t old = c->rcv_nxt - s->seq;
	struct sanitize_result r;

	if (s->flags & TCPF_RST)
		return judge_rst(c, s);
	if (s->flags & TCPF_SYN)
		return judge_syn(c, s);
	if (!(s->flags & TCPF_ACK))
		return verdict(SANITIZE_DROP);
	if (!ack_plausible(c, s->ack))
		return verdict(SANITIZE_ACK);
	if (after(s->seq, c->rcv_nxt) || (old && seglen <= old)) {
		r = verdict(SANITIZE_ACK); /* out of order, or nothing new in it */
		r.keepalive = is_keepalive(c, s);
		return r;
	}
	if (!seglen || !c->fin_rcvd)
		return trim(c, s, old);
	return verdict(SANITIZE_ACK); /* nothing can follow a FIN */
}

struct sanitize_result sanitize_answer(uint32_t iss_next, const struct sanitize_seg *s)
{
	struct sanitize_result r = verdict(SANITIZE_PASS);
	bool right = s->ack == iss_next;

	if (!(s->flags & TCPF_ACK))
		return verdict(SANITIZE_DROP);
	if (s->flags & TCPF_RST)
		r.flags = TCPF_RST | TCPF_ACK;
	else if (s->flags & TCPF_SYN && right)
		r.flags = TCPF_SYN | TCPF_ACK;
	else
		r.flags = TCPF_ACK;
	if (right == (r.flags == TCPF_ACK))
		return verdict(SANITIZE_DROP);
	r.seq = s->seq;
	return r;
}

struct sanitize_syn sanitize_syn_options(const uint8_t *opt, size_t len)
{
	struct sanitize_syn syn = {0};
	size_t i = 0;

	while (i < len && opt[i] != OPT_END) {
		if (opt[i] == OPT_NOP) {
			i++;
			continue;
		}
		if (len - i < 2 || opt[i + 1] < 2 || opt[i + 1] > len - i)
			break;
		if (opt[i] == OPT_MSS && opt[i + 1] == 4)
			syn.mss = get_be16(opt + i + 2);
		if (opt[i] == OPT_WSCALE && opt[i + 1] == 3) {
			syn.has_wscale = true;
			syn.wscale = MIN(opt[i + 2], (uint8_t)WSCALE_MAX);
		}
		i += opt[i + 1];
	}
	return syn;
}

uint16_t sanitize_mss(uint16_t option, bool v6, unsigned mtu)
{
	unsigned headers = v6 ? HEADERS_V6 : HEADERS_V4;
	unsigned mss = option ? option : v6 ? MSS_DEFAULT_V6 : MSS_DEFAULT_V4;

	if (mtu > headers)
		mss = MIN(mss, mtu - headers);
	return (uint16_t)MAX(mss, (unsigned)SANITIZE_MSS_MIN);
}
