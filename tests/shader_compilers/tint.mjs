// Has Tint, the WGSL compiler of Chromium, check kernels: Dawn's null back end compiles and runs nothing.
//
// A line of input is JSON: {file, entry, bindings, constants}. Its answer is what the compiler says, then a line "ok" or
// "failed" with the seconds of processor time that it took. The only argument is the folder of npm's package `webgpu`.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const { create, globals } = await import(pathToFileURL(process.argv[2] + '/index.js'));
Object.assign(globalThis, globals);
const TYPES = { Uniform: 'uniform', Read: 'read-only-storage', Write: 'storage' };

const gpu = create(['backend=null']); // node aborts when it is collected
const adapter = await gpu.requestAdapter();
const device = await adapter.requestDevice(); // no feature, default limits: what WebGPU promises

async function compile({ file, entry, bindings, constants }) {
  const module = device.createShaderModule({ code: readFileSync(file, 'utf8') });
  const { messages } = await module.getCompilationInfo();
  if (messages.length) return messages.map((m) => `${m.lineNum}:${m.linePos}: ${m.type}: ${m.message}`).join('\n');
  const entries = bindings.map((kind, binding) => ({ binding, visibility: 4, buffer: { type: TYPES[kind] } }));
  const layout = device.createPipelineLayout({ bindGroupLayouts: [device.createBindGroupLayout({ entries })] });
  await device.createComputePipelineAsync({ layout, compute: { module, entryPoint: entry, constants } });
  return '';
}

console.log('ok 0');
for await (const line of createInterface({ input: process.stdin })) {
  const begun = process.cpuUsage();
  const said = await compile(JSON.parse(line)).catch((error) => String(error.message ?? error));
  const { user, system } = process.cpuUsage(begun);
  console.log(`${said ? said + '\nfailed' : 'ok'} ${(user + system) / 1e6}`);
}
process.exit(0);
