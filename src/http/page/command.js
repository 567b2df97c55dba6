// The command line that gives the same answer as the form.

const FLAGS = [
  ["model", "--model"],
  ["quant", "--quant"],
  ["context", "--context", 4096],
  ["concurrency", "--concurrency", 1],
  ["prefill_step", "--prefill-step"],
  ["quantized_kv_start", "--quantized-kv-start"],
  ["max_kv_size", "--max-kv-size"],
  ["machine", "--machine"],
  ["wired_limit_mb", "--wired-limit-mb"],
  ["cap", "--cap"],
];

const quoted = (text) => (/^[\w.:/@+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

// `machineName` stands for the machine that the question leaves out or calls `this`, so that the command means the same
// on any computer; the machine that shvplan takes anyway is left out.
export const commandOf = (question, machineName, defaultMachine) => {
  const words = ["shvplan"];
  for (const [key, flag, usual] of FLAGS) {
    const value = key === "machine" ? machineName : question[key];
    if (value === undefined || value === usual || (key === "machine" && value === defaultMachine)) continue;
    words.push(flag, quoted(String(value)));
  }
  if (question.kv_bits !== undefined) {
    const group = question.kv_group_size ?? 64;
    words.push("--kv-quant", group === 64 ? String(question.kv_bits) : `${question.kv_bits}:${group}`);
  }
  return words.join(" ");
};

// The fields that an advice's flags set: `--kv-quant 8:64 --context 4096`.
export const fieldsOf = (flags) => {
  const words = flags.split(" ");
  const fields = {};
  for (let at = 0; at + 1 < words.length; at += 2) {
    if (words[at] === "--kv-quant") {
      const [bits, group] = words[at + 1].split(":");
      fields.kv_bits = bits;
      fields.kv_group_size = group === "64" ? "" : group;
    } else {
      const known = FLAGS.find(([, flag]) => flag === words[at]);
      if (!known) return null;
      fields[known[0]] = words[at + 1];
    }
  }
  return fields;
};
