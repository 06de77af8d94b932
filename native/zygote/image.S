/* The stub's code, as the zygote copies it into place. */
	.section .rodata
	.globl stub_image, stub_image_end
	.balign 4096
stub_image:
	.incbin "build/stub.bin"
stub_image_end:
	.section .note.GNU-stack,"",@progbits
