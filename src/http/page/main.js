// The live page: readings as they come, the form, and what changes more slowly.

import { Activity } from "./activity.js";
import { Chart } from "./chart.js";
import { byId } from "./dom.js";
import { Form } from "./form.js";
import { Live } from "./live.js";
import { showState } from "./state.js";
import { showPlans, showProcesses } from "./tables.js";

const SLOW_MS = 5000;
const TICK_MS = 1000;

const chart = new Chart({ frame: byId("chart"), legend: byId("legend"), table: byId("chart-table"), span: byId("memory-span") });
const activity = new Activity();
let due = false;
let connections = 0;

const slow = async () => {
  if (document.hidden) return;
  try {
    const plans = await fetch("/api/v1/plans");
    if (plans.ok) showPlans(await plans.json());
    await activity.refresh();
  } catch {
    // The sentence says that the connection is lost.
  }
};

// Readings that come in one turn are drawn once, and none while nobody looks.
const live = new Live((now) => {
  if (now.connections !== connections) {
    connections = now.connections;
    activity.again();
    slow();
  }
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    showState(now);
    chart.show(now.points);
    if (now.memory) showProcesses(now.memory);
  });
});

live.start();
new Form().start();
setInterval(slow, SLOW_MS);
setInterval(() => showState(live), TICK_MS);
byId("chart-table").closest("details").addEventListener("toggle", () => chart.draw());
document.addEventListener("visibilitychange", slow);
