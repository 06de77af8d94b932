/** A C program of many files with its Makefile, as the compilers' and make's test: big enough to be one. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Writes `count` modules, a main program that prints what they compute, and a Makefile into the directory. */
export function writeCProgram(directory: string, count: number): void {
  const modules = Array.from({ length: count }, (_, i) => i)
  writeFileSync(join(directory, 'all.h'), modules.map(i => `int module_${i}(int x);\n`).join(''))
  for (const i of modules) writeFileSync(join(directory, `module_${i}.c`), moduleSource(i, 40))
  writeFileSync(join(directory, 'main.c'), mainSource(modules))
  writeFileSync(join(directory, 'Makefile'), MAKEFILE)
}

/** One module: `functions` small functions that call each other. */
export function moduleSource(index: number, functions: number): string {
  const parts = ['#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include "all.h"\n']
  for (let f = 0; f < functions; f++) {
    const previous = f === 0 ? 'x' : `step_${f - 1}(x)`
    parts.push(`static int step_${f}(int x)
{
	char text[64];
	int values[${(f % 7) + 2}];

	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
		values[i] = (x * ${f + 3} + (int)i * ${index + 1}) % 10007;
	snprintf(text, sizeof text, "%d", values[x % 2]);
	return (${previous} + (int)strlen(text) + values[1]) % 65521;
}
`)
  }
  parts.push(`int module_${index}(int x)\n{\n\treturn step_${functions - 1}(abs(x)) + ${index};\n}\n`)
  return parts.join('\n')
}

function mainSource(modules: readonly number[]): string {
  const calls = modules.map(i => `\tprintf("module ${i}: %d\\n", sum = module_${i}(sum));`).join('\n')
  return `#include <stdio.h>\n#include "all.h"\n\nint main(void)\n{\n\tint sum = 1;\n\n${calls}\n\treturn 0;\n}\n`
}

const MAKEFILE = `objects := $(patsubst %.c,%.o,$(sort $(wildcard *.c)))

program: $(objects)
	@echo link
	@$(CC) -o $@ $(objects)

%.o: %.c all.h
	@echo compile $<
	@$(CC) -O1 -Wall -c -o $@ $<

clean:
	rm -f program $(objects)
`
