/* SPDX-License-Identifier: MIT */
/* embed: the compiled owner.bpf.c (OWNER_BPF_OBJ) as bytes of the program. */
	.section .rodata
	.balign 16
	.global owner_bpf_object
	.global owner_bpf_object_size
	.hidden owner_bpf_object
	.hidden owner_bpf_object_size
owner_bpf_object:
	.incbin OWNER_BPF_OBJ
end:
	.balign 8
owner_bpf_object_size:
	.quad end - owner_bpf_object
	.section .note.GNU-stack, "", %progbits
