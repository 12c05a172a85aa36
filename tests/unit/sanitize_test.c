/* SPDX-License-Identifier: MIT */
/*
 * The rules in front of lwIP, as a table, and by force: whatever passes is in order
 * and in the window.
 * LINK: stack/sanitize.o
 */
#include "sanitize.h"

#include <stdlib.h>

#include "../lib/tap.h"
#include "packet.h"

#define F   TCPF_FIN
#define S   TCPF_SYN
#define R   TCPF_RST
#define P   TCPF_PSH
#define A   TCPF_ACK
#define NXT 0xfffffff0u /* RCV.NXT; what follows wraps */
#define UNA 5000u

static const struct sanitize_conn open_conn = {.rcv_nxt = NXT,
					       .rcv_wnd = 1000,
					       .snd_una = UNA,
					       .snd_nxt = UNA + 100,
					       .snd_wnd_max = 65535};

static const struct {
	const char *name;
	uint32_t off, ack, len;
	uint8_t flags;
	enum sanitize_verdict verdict;
	uint32_t skip, outlen;
	uint8_t outflags;
	bool keepalive;
} table[] = {
	{"pure ACK", 0, UNA, 0, A, SANITIZE_PASS, 0, 0, A, false},
	{"data in order", 0, UNA, 10, A | P, SANITIZE_PASS, 0, 10, A | P, false},
	{"data and FIN", 0, UNA, 10, A | F, SANITIZE_PASS, 0, 10, A | F, false},
	{"FIN alone", 0, UNA, 0, A | F, SANITIZE_PASS, 0, 0, A | F, false},
	{"exactly the window", 0, UNA, 1000, A, SANITIZE_PASS, 0, 1000, A, false},
	{"one more is cut", 0, UNA, 1001, A, SANITIZE_PASS, 0, 1000, A, false},
	{"a FIN behind the window is cut", 0, UNA, 1000, A | F, SANITIZE_PASS, 0, 1000, A, false},
	{"overlap is skipped", -4u, UNA, 10, A, SANITIZE_PASS, 4, 6, A, false},
	{"overlap with FIN", -4u, UNA, 4, A | F, SANITIZE_PASS, 4, 0, A | F, false},
	{"overlap over the whole window", -4u, UNA, 5000, A, SANITIZE_PASS, 4, 1000, A, false},
	{"all old", -10u, UNA, 10, A, SANITIZE_ACK, 0, 0, 0, false},
	{"old FIN", -1u, UNA, 0, A | F, SANITIZE_ACK, 0, 0, 0, false},
	{"old pure ACK", -10u, UNA, 0, A, SANITIZE_ACK, 0, 0, 0, false},
	{"ahead", 1, UNA, 10, A, SANITIZE_ACK, 0, 0, 0, false},
	{"ahead, pure ACK", 1, UNA, 0, A, SANITIZE_ACK, 0, 0, 0, false},
	{"far ahead", 0x7fffffff, UNA, 10, A, SANITIZE_ACK, 0, 0, 0, false},
	{"half the space away", 0x80000000, UNA, 10, A, SANITIZE_ACK, 0, 0, 0, false},
	{"keepalive", -1u, UNA, 0, A, SANITIZE_ACK, 0, 0, 0, true},
	{"keepalive with a byte", -1u, UNA, 1, A | P, SANITIZE_ACK, 0, 0, 0, true},
	{"not a keepalive: two bytes", -1u, UNA, 2, A, SANITIZE_PASS, 1, 1, A, false},
	{"ACK of all sent", 0, UNA + 100, 0, A, SANITIZE_PASS, 0, 0, A, false},
	{"ACK of more", 0, UNA + 101, 10, A, SANITIZE_ACK, 0, 0, 0, false},
	{"ACK just not too old", 0, UNA - 65535, 0, A, SANITIZE_PASS, 0, 0, A, false},
	{"ACK too old", 0, UNA - 65536, 0, A, SANITIZE_ACK, 0, 0, 0, false},
	{"no ACK flag", 0, UNA, 10, P, SANITIZE_DROP, 0, 0, 0, false},
	{"no flag at all", 0, UNA, 0, 0, SANITIZE_DROP, 0, 0, 0, false},
	{"urgent and ECN flags go", 0, UNA, 1, A | TCPF_URG | TCPF_ECE | TCPF_CWR, SANITIZE_PASS, 0,
	 1, A, false},
	{"RST exact", 0, 0, 0, R, SANITIZE_PASS, 0, 0, R, false},
	{"RST exact, with payload", 0, 0, 9, R | A, SANITIZE_PASS, 0, 0, R, false},
	{"RST in the window", 1, 0, 0, R, SANITIZE_ACK, 0, 0, 0, false},
	{"RST at its end", 999, 0, 0, R, SANITIZE_ACK, 0, 0, 0, false},
	{"RST behind it", 1000, 0, 0, R, SANITIZE_DROP, 0, 0, 0, false},
	{"RST before it", -1u, 0, 0, R, SANITIZE_DROP, 0, 0, 0, false},
	{"RST and SYN", 0, 0, 0, R | S, SANITIZE_PASS, 0, 0, R, false},
	{"SYN", -1u, 0, 0, S, SANITIZE_ACK, 0, 0, 0, false},
	{"SYN in the window", 5, 0, 0, S, SANITIZE_ACK, 0, 0, 0, false},
	{"SYN-ACK", 0, UNA, 0, S | A, SANITIZE_ACK, 0, 0, 0, false},
};

static void in_order(void)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct sanitize_seg s = {NXT + table[i].off, table[i].ack, table[i].len,
					 table[i].flags};
		struct sanitize_result r = sanitize_segment(&open_conn, &s);
		bool pass = r.verdict == SANITIZE_PASS;

		tap_ok(r.verdict == table[i].verdict && r.keepalive == table[i].keepalive &&
			       (!pass || (r.seq == NXT && r.len == table[i].outlen &&
					  r.flags == table[i].outflags &&
					  (!r.len || r.skip == table[i].skip))),
		       "%s", table[i].name);
	}
}

static enum sanitize_verdict judge(struct sanitize_conn c, uint32_t off, uint32_t len,
				   uint8_t flags)
{
	struct sanitize_seg s = {NXT + off, UNA, len, flags};

	return sanitize_segment(&c, &s).verdict;
}

static void states(void)
{
	struct sanitize_conn c = open_conn;
	struct sanitize_seg probe = {NXT - 1, UNA, 0, A};

	c.rcv_wnd = 0;
	tap_is(judge(c, 0, 0, A), SANITIZE_PASS, "closed window: a pure ACK passes");
	tap_is(judge(c, 0, 1, A), SANITIZE_ACK, "closed window: a byte does not");
	tap_is(judge(c, 0, 0, A | F), SANITIZE_ACK, "closed window: a FIN does not");
	tap_is(judge(c, 0, 0, R), SANITIZE_PASS, "closed window: the exact RST passes");
	tap_is(judge(c, 1, 0, R), SANITIZE_DROP, "closed window: no other does");
	c.window_shut = true;
	tap_ok(!sanitize_segment(&c, &probe).keepalive, "closed window: a probe is no keepalive");

	c = open_conn;
	c.fin_rcvd = true;
	tap_is(judge(c, 0, 0, A), SANITIZE_PASS, "after a FIN: a pure ACK passes");
	tap_is(judge(c, 0, 1, A), SANITIZE_ACK, "after a FIN: data do not");
	tap_is(judge(c, 0, 0, A | F), SANITIZE_ACK, "after a FIN: another FIN does not");
	tap_is(judge(c, -1u, 0, A | F), SANITIZE_ACK, "after a FIN: the same again does not");

	c = open_conn;
	c.syn_rcvd = true;
	tap_is(judge(c, -1u, 0, S), SANITIZE_PASS, "handshake: the SYN again passes");
	tap_is(judge(c, -1u, 0, S | A), SANITIZE_ACK, "handshake: a SYN-ACK does not");
	tap_is(judge(c, 0, 0, S), SANITIZE_ACK, "handshake: another SYN does not");
	tap_is(judge(c, 0, 5, A), SANITIZE_PASS, "handshake: the ACK may carry data");
	tap_is(judge(c, 1, 5, A), SANITIZE_ACK, "handshake: data ahead do not pass");
	tap_is(judge(c, 0, 0, R), SANITIZE_PASS, "handshake: a RST passes");
}

/** by_force - near any number, what passes starts at RCV.NXT and fits */
static void by_force(void)
{
	unsigned long wrong = 0;

	srandom(1);
	for (int i = 0; i < 2000000; i++) {
		struct sanitize_conn c = open_conn;
		struct sanitize_seg s = {NXT + (uint32_t)(random() % 200000 - 100000),
					 UNA + (uint32_t)(random() % 300 - 100),
					 (uint32_t)(random() % (i & 1 ? 65515 : 3)),
					 (uint8_t)random()};
		struct sanitize_result r;
		uint32_t fin;

		c.rcv_wnd = (uint32_t)(random() % (i & 2 ? 65536 : 3));
		c.fin_rcvd = i & 4;
		c.syn_rcvd = i & 8;
		r = sanitize_segment(&c, &s);
		fin = !!(r.flags & F);
		if (r.verdict != SANITIZE_PASS || r.flags & (S | R))
			continue;
		wrong += r.seq != NXT || r.len + fin > c.rcv_wnd || r.skip + r.len > s.len ||
			 (r.len && s.seq + r.skip != NXT) || (fin && !(s.flags & F)) ||
			 (c.fin_rcvd && r.len + fin);
	}
	tap_is(wrong, 0, "2 million random segments: all that pass are in order and in the window");
}

static void syn_options(void)
{
	static const uint8_t usual[] = {2, 4, 5, 180, 4, 2, 8, 10, 0, 0,
					0, 0, 0, 0,   0, 0, 1, 3,  3, 7};
	static const uint8_t zero_len[] = {8, 0, 2, 4, 5, 180}, one_len[] = {8, 1, 2, 4, 5, 180};
	static const uint8_t past_end[] = {2, 4, 5}, cut[] = {1, 1, 3};
	static const uint8_t wrong_len[] = {2, 3, 5, 3, 4, 1, 2, 2, 4, 1, 0};
	static const uint8_t big_scale[] = {3, 3, 255}, ended[] = {0, 2, 4, 5, 180};
	struct sanitize_syn s = sanitize_syn_options(usual, sizeof(usual));

	tap_ok(s.mss == 1460 && s.has_wscale && s.wscale == 7, "a usual SYN's options are read");
	tap_is(sanitize_syn_options(zero_len, sizeof(zero_len)).mss, 0,
	       "length 0 ends the options");
	tap_is(sanitize_syn_options(one_len, sizeof(one_len)).mss, 0, "length 1, too");
	tap_is(sanitize_syn_options(past_end, sizeof(past_end)).mss, 0,
	       "an option past the end is none");
	tap_ok(!sanitize_syn_options(cut, sizeof(cut)).has_wscale, "nor one without its length");
	s = sanitize_syn_options(wrong_len, sizeof(wrong_len));
	tap_ok(s.mss == 256 && !s.has_wscale, "options of a wrong length are skipped");
	tap_is(sanitize_syn_options(big_scale, 3).wscale, 14, "the scale is at most 14");
	tap_is(sanitize_syn_options(ended, sizeof(ended)).mss, 0, "nothing counts behind the end");
	tap_is(sanitize_syn_options(usual, 0).mss, 0, "no options, no MSS");
}

static void mss(void)
{
	tap_is(sanitize_mss(0, false, 1500), 536, "without option: 536");
	tap_is(sanitize_mss(0, true, 1500), 1220, "for IPv6 1220");
	tap_is(sanitize_mss(1460, false, 1500), 1460, "1460 is kept");
	tap_is(sanitize_mss(65535, false, 1500), 1460, "bounded by the MTU");
	tap_is(sanitize_mss(65535, true, 9000), 8940, "of IPv6 as well");
	tap_is(sanitize_mss(1, false, 1500), SANITIZE_MSS_MIN, "and by what is sensible");
}

/** answers - what may answer a SYN of ours whose next number is 5000 */
static void answers(void)
{
	static const struct {
		const char *name;
		uint8_t flags;
		uint32_t ack;
		enum sanitize_verdict verdict;
		uint8_t outflags;
	} t[] = {
		{"SYN-ACK", S | A, 5000, SANITIZE_PASS, S | A},
		{"SYN-ACK with data and FIN", S | A | P | F, 5000, SANITIZE_PASS, S | A},
		{"SYN-ACK of something else", S | A, 4999, SANITIZE_PASS, A},
		{"RST", R | A, 5000, SANITIZE_PASS, R | A},
		{"RST with a SYN", R | S | A, 5000, SANITIZE_PASS, R | A},
		{"RST of something else", R | A, 5001, SANITIZE_DROP, 0},
		{"RST without ACK", R, 5000, SANITIZE_DROP, 0},
		{"SYN alone", S, 5000, SANITIZE_DROP, 0},
		{"ACK alone", A, 5000, SANITIZE_DROP, 0},
		{"FIN alone", F | A, 5000, SANITIZE_DROP, 0},
		{"ACK of an older connection", A | P, 77, SANITIZE_PASS, A},
		{"nothing at all", 0, 0, SANITIZE_DROP, 0},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		struct sanitize_seg s = {.seq = 9, .ack = t[i].ack, .len = 5, .flags = t[i].flags};
		struct sanitize_result r = sanitize_answer(5000, &s);

		tap_ok(r.verdict == t[i].verdict && r.flags == t[i].outflags && !r.len,
		       "answer to our SYN: %s", t[i].name);
	}
}

int main(void)
{
	answers();
	in_order();
	states();
	by_force();
	syn_options();
	mss();
	return tap_done();
}
