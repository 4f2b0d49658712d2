// Reads a JSON list of custom resources from standard input and says what is wrong with them; nothing where all is well.
//
// Two looks at each: its validator knows types, required fields and enumerations, but lets unknown fields pass; the
// TypeScript compiler, given the object as a literal of its interface, refuses those.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const MODELS = {
  "keda.sh/v1alpha1": "@kubernetes-models/keda/keda.sh/v1alpha1",
  "monitoring.coreos.com/v1": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1",
  "cert-manager.io/v1": "@kubernetes-models/cert-manager/cert-manager.io/v1",
};
const here = dirname(fileURLToPath(import.meta.url));
const objects = JSON.parse(readFileSync(0, "utf8"));
const wrong = [];

for (const object of objects) {
  const name = `${object.kind}/${object.metadata.name}`;
  const model = (await import(MODELS[object.apiVersion]))[object.kind];
  try {
    new model(object).validate();
  } catch (error) {
    wrong.push(`${name}: ${error.message}`);
  }
}

// Inside this folder, for its node_modules.
const folder = mkdtempSync(join(here, "node_modules", ".check-"));
try {
  const lines = objects.map(
    ({ kind, apiVersion, ...rest }, number) =>
      `import type { I${kind} as T${number} } from ${JSON.stringify(MODELS[apiVersion])};\n` +
      `export const o${number}: T${number} = ${JSON.stringify({ apiVersion, kind, ...rest })};\n`,
  );
  const file = join(folder, "objects.ts");
  writeFileSync(file, lines.join(""));
  const options = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022"];
  const tsc = join(here, "node_modules", ".bin", "tsc");
  const told = spawnSync(tsc, [...options, "--ignoreConfig", file], { encoding: "utf8" });
  if (told.status !== 0) wrong.push(told.stdout + told.stderr);
} finally {
  rmSync(folder, { recursive: true });
}
if (wrong.length > 0) {
  console.log(wrong.join("\n"));
  process.exit(1);
}
