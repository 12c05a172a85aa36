/* SPDX-License-Identifier: MIT */
/*
 * sanitize: the rules that stand between a hostile segment and lwIP.
 *
 * lwIP 2.1 aborts the process when a segment makes it queue more than its
 * window, and it believes options in any segment. So it is never shown what the
 * program sent, but what these rules make of it: in synchronised states every
 * segment that passes starts exactly at RCV.NXT, ends inside the window, has no
 * options and no urgent pointer. What RFC 9293 (3.10.7.4) and RFC 5961 want
 * answered with an ACK is answered by the caller; the rest is dropped. Segments
 * ahead of RCV.NXT are dropped with an immediate ACK: the hop to the program
 * does not reorder, and nothing can be pinned by holes.
 *
 * Pure: numbers in, verdict out.
 */
#ifndef WEIR_STACK_SANITIZE_H
#define WEIR_STACK_SANITIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * struct sanitize_conn - what the rules need to know of a connection
 * @rcv_wnd: bytes that may be accepted from @rcv_nxt on
 * @snd_una, @snd_nxt: oldest byte not acknowledged, next byte to be sent
 * @snd_wnd_max: largest window the program ever announced
 * @syn_rcvd: the handshake is not complete
 * @fin_rcvd: the program's FIN was accepted
 * @window_shut: the window last announced was zero: a probe is no keepalive
 */
struct sanitize_conn {
	uint32_t rcv_nxt, rcv_wnd;
	uint32_t snd_una, snd_nxt, snd_wnd_max;
	bool syn_rcvd, fin_rcvd, window_shut;
};

/** struct sanitize_seg - a segment as it came; @flags are TCPF_* */
struct sanitize_seg {
	uint32_t seq, ack;
	uint32_t len;
	uint8_t flags;
};

enum sanitize_verdict {
	SANITIZE_PASS, /* to lwIP, as struct sanitize_result says */
	SANITIZE_ACK,  /* answer with an ACK, drop */
	SANITIZE_DROP, /* without a word */
};

/**
 * struct sanitize_result - the segment that lwIP may see
 * @seq, @flags: of the rewritten header
 * @skip, @len: the part of the payload, from its start
 * @keepalive: the segment was a keepalive probe (verdict SANITIZE_ACK)
 */
struct sanitize_result {
	enum sanitize_verdict verdict;
	uint32_t seq, skip, len;
	uint8_t flags;
	bool keepalive;
};

/** sanitize_segment - judge a segment of an existing connection */
struct sanitize_result sanitize_segment(const struct sanitize_conn *c,
					const struct sanitize_seg *s);

/**
 * sanitize_answer - judge the answer to a SYN of ours (RFC 9293, 3.10.7.3)
 * @iss_next: the number behind our SYN: what the answer has to acknowledge
 *
 * Passes: the SYN-ACK, without its data; the reset; and as a bare ACK what acknowledges something
 * else (the program's kernel still has an older connection of this name: lwIP resets
 * that and repeats the SYN). A SYN alone is dropped: both sides never open at once here.
 */
struct sanitize_result sanitize_answer(uint32_t iss_next, const struct sanitize_seg *s);

/**
 * struct sanitize_syn - the options of a SYN that matter
 * @mss: 0 = absent
 * @wscale: 0..14; valid with @has_wscale
 */
struct sanitize_syn {
	uint16_t mss;
	uint8_t wscale;
	bool has_wscale;
};

/** sanitize_syn_options - read @len bytes of options; stops at the first malformed one */
struct sanitize_syn sanitize_syn_options(const uint8_t *opt, size_t len);

/*
 * Payload per segment that the program will get, whatever its MSS option says:
 * Linux, too, takes no smaller MSS than this from a peer.
 */
#define SANITIZE_MSS_MIN 48

/**
 * sanitize_mss - payload bytes per segment to a program
 * @option: the MSS option, 0 = absent: then RFC 9293 (3.7.1) says 536, for IPv6 1220
 */
uint16_t sanitize_mss(uint16_t option, bool v6, unsigned mtu);

#endif
