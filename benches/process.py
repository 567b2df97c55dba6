"""Times whole processes in turn, A B A B …: `process.py SHVPLAN LLMFIT`. See process.sh."""
import os, statistics, subprocess, sys, time

ROUNDS = 40
WALL_SECONDS_MAX, RESIDENT_BYTES_MAX, FACTOR_MIN = 0.005, 8e6, 30


def once(command):
    """Wall seconds and exit code of one process."""
    begun = time.perf_counter()
    code = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ, NO_COLOR="1")).returncode
    return time.perf_counter() - begun, code


def resident_bytes(command):
    """Peak resident bytes. GNU time forks the process from a small one: a child of this interpreter would start from
    the interpreter's own peak."""
    run = subprocess.run(["/usr/bin/time", "-f", "%M", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return int(run.stderr.split()[-1]) * 1024


def main():
    shvplan, llmfit = sys.argv[1:]
    commands = {
        "shvplan --model 30b --quant int4": [shvplan, "--model", "30b", "--quant", "int4"],
        "llmfit plan huggyllama/llama-30b": [llmfit, "plan", "huggyllama/llama-30b", "--context", "4096"],
    }
    figures = {name: [] for name in commands}
    for name, command in commands.items():
        once(command)
    for _ in range(ROUNDS):
        for name, command in commands.items():
            figures[name].append(once(command))
    medians, largest = [], []
    print(f"{'':36}{'wall, median':>14}{'min':>10}{'max':>10}{'resident':>12}  exit")
    for name, rows in figures.items():
        walls = [row[0] for row in rows]
        medians.append(statistics.median(walls))
        resident = resident_bytes(commands[name])
        largest.append(resident)
        print(f"{name:36}{medians[-1] * 1e3:>11.2f} ms{min(walls) * 1e3:>7.2f} ms{max(walls) * 1e3:>7.2f} ms{resident / 1e6:>9.1f} MB  {sorted({row[1] for row in rows})}")
    factor = medians[1] / medians[0]
    print(f"llmfit takes {factor:.0f} times as long")
    over = medians[0] > WALL_SECONDS_MAX or largest[0] > RESIDENT_BYTES_MAX or factor < FACTOR_MIN
    sys.exit("over the budget: 5 ms, 8 MB, 30 times" if over else 0)


main()
