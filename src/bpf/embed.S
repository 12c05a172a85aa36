/* SPDX-License-Identifier: MIT */
/* embed: the compiled owner.bpf.c and inbound.bpf.c (.._BPF_OBJ) as bytes of the program. */
	.macro object name, file
	.section .rodata
	.balign 16
	.global \name
	.global \name\()_size
	.hidden \name
	.hidden \name\()_size
\name:
	.incbin "\file"
\name\()_end:
	.balign 8
\name\()_size:
	.quad \name\()_end - \name
	.endm

	object owner_bpf_object, OWNER_BPF_OBJ
	object inbound_bpf_object, INBOUND_BPF_OBJ
	.section .note.GNU-stack, "", %progbits
