// Figures as people read them, in the units of shvplan's reports: GiB, or MiB below one.

const GIB = 2 ** 30;
const MIB = 2 ** 20;
const grouping = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

export const grouped = (n) => grouping.format(n);

export const gib = (bytes) => (bytes / GIB).toFixed(1);

export const human = (bytes) => {
  const size = Math.abs(bytes);
  const sign = bytes < 0 ? "−" : "";
  return size > GIB - MIB ? `${sign}${gib(size)} GiB` : `${sign}${Math.ceil(size / MIB)} MiB`;
};

export const orDash = (value, format) => (value === undefined || value === null ? "–" : format(value));

export const clock = (unixSeconds, withSeconds = true) => {
  const options = { hour: "2-digit", minute: "2-digit", hour12: false };
  if (withSeconds) options.second = "2-digit";
  return new Date(unixSeconds * 1000).toLocaleTimeString("en-GB", options);
};

export const day = (unixSeconds) => {
  const then = new Date(unixSeconds * 1000);
  const date = then.toDateString() === new Date().toDateString() ? "today" : then.toISOString().slice(0, 10);
  return `${date}, ${clock(unixSeconds, false)}`;
};

export const duration = (seconds) => {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
};

export const rate = (bytesPerSecond) => `${(bytesPerSecond / 1e9).toFixed(1)} GB/s`;

export const words = (code) => code.replaceAll("_", " ");

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
