/** What a worker tells the process that has started it, once it answers calls. */
export const LISTENING = "listening";
