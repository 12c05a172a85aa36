/* SPDX-License-Identifier: MIT */
/* wire: what the probe and its servers agree on: ports, payload pattern, checksum. */
#ifndef WEIR_TESTS_WIRE_H
#define WEIR_TESTS_WIRE_H

#include <stddef.h>
#include <stdint.h>

enum wire_tcp {			 /* tests/lib/peer.c */
		TCP_ECHO = 7001, /* echoes; closes after EOF */
		TCP_COUNT,	 /* reads to EOF, answers "COUNT SUM\n", closes */
		TCP_SPEAK_FIRST, /* sends 100000 bytes and FIN, then reads to EOF; see TCP_LAST */
		TCP_RST_LATER,	 /* waits for a byte, then resets (SO_LINGER 0) */
		TCP_RST_UNREAD,	 /* sends 10 bytes, then closes with unread data: the kernel resets
				  */
		TCP_SLOW_READER, /* small window, pauses 1.5 s, reads to EOF, answers "COUNT SUM\n"
				  */
		TCP_FLOOD,	 /* sends 16 MiB and FIN; TCP_LAST tells whether it was held up */
		TCP_URGENT,	 /* sends abc, ! urgent, def; reads to EOF, answers what came */
		TCP_SIMCLOSE,	 /* a byte, then both send FIN at the same time */
		TCP_TWO_WRITES,	 /* answers one byte for every 8 that came */
		TCP_LAST,	 /* says how the last SPEAK_FIRST, RST_LATER or FLOOD ended */
		TCP_WHOAMI,	 /* "ADDR PORT\n" of the peer, FIN */
		TCP_CLOSE_FIRST, /* closes at once */
		TCP_READ_RST,	 /* reads until an error or EOF; see TCP_LAST */
		TCP_PORT_END,
		TCP_REFUSED = 7099, /* nobody listens */
};

enum wire_udp {
	UDP_ECHO = 7101,
	UDP_WHOAMI,	/* "ADDR PORT tos N ttl N len N" of the datagram */
	UDP_OTHER_PORT, /* echoes from UDP_FROM_PORT */
	UDP_OTHER_ADDR, /* echoes from the second address, same port */
	UDP_TOS,	/* echoes with the TOS that is the first byte */
	UDP_BURST,	/* answers with 1000 numbered datagrams of the asked size */
	UDP_UNASKED,	/* answers, then again from UDP_FROM_PORT and from the second address */
	UDP_PORT_END,
	UDP_FROM_PORT = 7150,
	UDP_REFUSED = 7199,
};

enum wire_hostile { /* tests/lib/hostile.c */
		    HOSTILE_ECHO =
			    9001,   /* echoes in odd, doubled, overlapping, disordered segments */
		    HOSTILE_REFUSE, /* RST to the SYN */
		    HOSTILE_RST_AFTER_SYNACK, /* SYN-ACK, RST */
		    HOSTILE_SILENT,	      /* nothing */
		    HOSTILE_LATE,	      /* drops two SYNs, then as HOSTILE_ECHO */
		    HOSTILE_DIES,	      /* handshake, then nothing; counts what it hears */
		    HOSTILE_HEARD,    /* "N\n": segments without payload that HOSTILE_DIES heard */
		    HOSTILE_SIMCLOSE, /* its FIN crosses the peer's */
		    HOSTILE_RST_MIDWAY,	 /* 1000 bytes, RST */
		    HOSTILE_ZERO_WINDOW, /* closes its window for 1.2 s, twice; echoes the count at
					    EOF */
		    HOSTILE_FIN_FIRST,	 /* FIN arrives before the data */
		    HOSTILE_BLIND_RST,	 /* RST off by some (to be ignored), then "alive", FIN */
		    HOSTILE_PORT_END,
		    /* UDP: the error named by the port comes back */
		    HOSTILE_UNREACH = 9100,   /* + code: destination unreachable */
		    HOSTILE_EXCEEDED = 9120,  /* time exceeded, code 0 */
		    HOSTILE_PARAMETER = 9121, /* parameter problem, code 0 */
		    HOSTILE_TOO_BIG = 9122,   /* fragmentation needed, MTU 1300 */
};

#define FLOOD_BYTES (16u << 20)

/* wire_byte - byte @i of every bulk payload; its period is prime to all buffer sizes */
static inline uint8_t wire_byte(size_t i)
{
	return (uint8_t)(i % 251 ^ i / 251 % 241);
}

static inline void wire_fill(uint8_t *buf, size_t len, size_t from)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = wire_byte(from + i);
}

/* wire_sum - order sensitive, so that exchanged bytes show; start with 1 */
static inline uint32_t wire_sum(uint32_t sum, const uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum = (sum ^ buf[i]) * 16777619u;
	return sum;
}

#endif
