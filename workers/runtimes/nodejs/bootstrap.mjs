// Runs a Node.js handler inside an execution environment.
//
// Started without arguments, often long before its function is known. It speaks frames on the stream socket whose
// descriptor LAMBENT_CHANNEL_FD names (big endian: u32 length of what follows, u8 type, body):
//
//     CLAIM 1    in   JSON {env, handler, task_root}: become this function's environment (null env: keep one's own)
//     INVOKE 2   in   u32 length of header · JSON {id, deadline_ms, arn, trace_id, client_context} · event
//     READY 16   out  the handler is loaded
//     FAILED 17  out  JSON error: it could not be loaded; the process ends
//     RESULT 18  out  36 bytes of request id · response
//     ERROR 19   out  36 bytes of request id · JSON error
//     FATAL 20   out  like ERROR, and the process ends
//     STREAM 21  out  36 bytes of request id · content type: the response follows in parts
//     PART 22    out  36 bytes of request id · bytes
//     END 23     out  36 bytes of request id: the stream is whole; an ERROR or FATAL instead says that it is not
//
// Handlers made with `awslambda.streamifyResponse` write to a stream, whose writes wait while its reader is behind.
//
// No dependencies, Node.js 20 and later. Errors, context and log lines are those of AWS's own runtime client.

import fs from 'node:fs';
import Module, { createRequire } from 'node:module';
import net from 'node:net';
import path from 'node:path';
import { Writable, finished } from 'node:stream';
import { pathToFileURL } from 'node:url';
import util from 'node:util';
import v8 from 'node:v8';

const CLAIM = 1, INVOKE = 2, READY = 16, FAILED = 17, RESULT = 18, ERROR = 19, FATAL = 20;
const STREAM = 21, PART = 22, END = 23;
const PART_BYTES = 65536;
const METADATA_TYPE = 'application/vnd.awslambda.http-integration-response';
// The names that AWS's client marks handlers by, so that libraries which set them themselves work too.
const STREAMS = Symbol.for('aws.lambda.runtime.handler.streaming');
const HIGH_WATER_MARK = Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark');
const RESPONSE_BYTES_MAX = 6291556;
const CALLBACKS_UNTIL = 24; // from this major version on, Lambda refuses handlers with a callback
const EXIT_UNCAUGHT = 129, EXIT_UNHANDLED = 128;
const require = createRequire(import.meta.url);
const major = Number(process.versions.node.split('.')[0]);

/** An error that the runtime itself reports, under a `Runtime.` type. */
class Fault extends Error {
  constructor(kind, cause) {
    super(cause);
    this.name = `Runtime.${kind}`;
  }
}

/** What a rejection that nobody handled becomes. */
class UnhandledPromiseRejection extends Fault {
  constructor(reason, promise) {
    super('UnhandledPromiseRejection', reason);
    this.reason = reason;
    this.promise = promise;
  }
}

/** Lambda's error object of a Node.js function, of anything that may be thrown. */
function describe(error) {
  try {
    if (util.types.isNativeError(error) || (error?.name && error?.message && error?.stack)) {
      return { errorType: error.name, errorMessage: error.message, trace: String(error.stack).split('\n') };
    }
    return { errorType: typeof error, errorMessage: error.toString(), trace: [] };
  } catch {
    return {
      errorType: 'handled',
      errorMessage: 'callback called with Error argument, but there was a problem while retrieving one or more of ' +
        'its message, name, and stack',
    };
  }
}

/** An error as Lambda prints it, with the members that it carries. */
function printable(error) {
  const whole = (_key, value) => (value instanceof Error ? {
    errorType: value.name, errorMessage: value.message, code: value.code, ...value,
    stack: typeof value.stack === 'string' ? value.stack.split('\n') : undefined,
  } : value);
  try {
    return '\t' + JSON.stringify(error, whole);
  } catch {
    return '\t' + JSON.stringify(describe(error));
  }
}

// ---- log -----------------------------------------------------------------------------------------------------------

let requestId;

/** Print a line with time, request and level; a line break within it would make it two events. */
function log(level, ...message) {
  const text = `${new Date().toISOString()}\t${requestId}\t${level}\t${util.format(...message)}`;
  process.stdout.write(text.replace(/\n/g, '\r') + '\n');
}

function logError(title, error) {
  log('ERROR', title, printable(error instanceof Error ? error : new Error(error)));
}

function patchConsole() {
  for (const [method, level] of Object.entries({
    trace: 'TRACE', debug: 'DEBUG', info: 'INFO', log: 'INFO', warn: 'WARN', error: 'ERROR', fatal: 'FATAL',
  })) {
    console[method] = (...message) => log(level, ...message);
  }
  // A handler that closed its output must not end the environment by writing to it.
  process.stdout.on('error', () => {});
  process.stderr.on('error', () => {});
}

// ---- channel -------------------------------------------------------------------------------------------------------

/** The stream to the worker; `onFrame(type, body)` is called for each whole frame. */
class Channel {
  constructor(fd, onFrame) {
    this.onFrame = onFrame;
    this.parts = [];
    this.have = 0;
    this.socket = new net.Socket({ fd, readable: true, writable: true });
    this.socket.on('data', (data) => this.feed(data));
    this.socket.on('error', () => process.exit(0));
    this.socket.on('close', () => process.exit(0)); // the worker has gone
  }

  feed(data) {
    this.parts.push(data);
    this.have += data.length;
    if (this.have < 5) return;
    if (this.parts[0].length < 5) this.parts = [Buffer.concat(this.parts)];
    const size = 4 + this.parts[0].readUInt32BE(0);
    if (this.have < size) return;
    const frame = this.parts.length === 1 ? this.parts[0] : Buffer.concat(this.parts);
    this.parts = [];
    this.have = 0;
    this.onFrame(frame[4], frame.subarray(5, size));
    if (frame.length > size) this.feed(frame.subarray(size));
  }

  send(type, parts, sent) {
    let size = 1;
    for (const part of parts) size += part.length;
    const head = Buffer.allocUnsafe(5);
    head.writeUInt32BE(size, 0);
    head[4] = type;
    this.socket.write(parts.length ? Buffer.concat([head, ...parts], size + 4) : head, sent);
  }

  /** Send the last frame and end the process once it is out. */
  sendLast(type, parts, code) {
    this.send(type, parts, () => process.exit(code));
  }

  /** While a handler runs, the channel alone must not keep its event loop from being empty. */
  hold() { this.socket.ref(); }
  release() { this.socket.unref(); }
}

// ---- streaming -----------------------------------------------------------------------------------------------------

/** The response of one call, written by its handler. Like Lambda's, it is no more than a writable stream. */
class ResponseStream extends Writable {
  #id;
  #contentType = 'application/octet-stream';
  begun = false;

  constructor(id, highWaterMark) {
    super({ highWaterMark, decodeStrings: true });
    this.#id = Buffer.from(id);
    this.on('error', () => {}); // the handler's own affair: it is told by its promise, too
  }

  setContentType(contentType) {
    if (this.begun) throw new InvalidStreamingOperation('Cannot set content-type, too late.');
    this.#contentType = String(contentType);
  }

  write(chunk, encoding, callback) {
    const plain = typeof chunk === 'string' || chunk instanceof Uint8Array;
    return super.write(plain || chunk === null || chunk === undefined ? chunk : JSON.stringify(chunk), encoding, callback);
  }

  _write(chunk, _encoding, done) {
    this.#begin();
    this.#send(chunk, done);
  }

  _final(done) {
    this.#begin();
    done();
  }

  #begin() {
    if (this.begun) return;
    this.begun = true;
    channel.send(STREAM, [this.#id, Buffer.from(this.#contentType, 'latin1')]);
    // A hook of AWS's stream, which some libraries set themselves.
    this._onBeforeFirstWrite?.((bytes) => this.#send(Buffer.from(bytes)));
  }

  /** Send bytes as parts; `done` is called when the last of them has left this process. */
  #send(bytes, done) {
    let at = 0;
    do {
      const part = bytes.subarray(at, at + PART_BYTES);
      at += PART_BYTES;
      channel.send(PART, [this.#id, part], at < bytes.length ? undefined : done);
    } while (at < bytes.length);
  }
}

class InvalidStreamingOperation extends Error {
  constructor(message) {
    super(message);
    this.name = 'Runtime.InvalidStreamingOperation';
  }
}

globalThis.awslambda = {
  /** Mark a handler as one that gets `(event, responseStream, context)`. */
  streamifyResponse(handler, options) {
    handler[STREAMS] = 'response';
    if (options?.highWaterMark !== undefined) handler[HIGH_WATER_MARK] = parseInt(options.highWaterMark, 10);
    return handler;
  },
  HttpResponseStream: class HttpResponseStream {
    /** Give a stream the status, headers and cookies of a reply over HTTP. */
    static from(stream, metadata) {
      stream.setContentType(METADATA_TYPE);
      stream._onBeforeFirstWrite = (write) => {
        write(JSON.stringify(metadata));
        write(new Uint8Array(8));
      };
      return stream;
    }
  },
};

// ---- loading -------------------------------------------------------------------------------------------------------

/** Whether `.js` files in a folder are ES modules, by the nearest package.json. */
function isModuleFolder(folder) {
  for (let at = folder; !at.endsWith('/node_modules'); at = path.dirname(at)) {
    const file = path.join(at, 'package.json');
    if (fs.existsSync(file)) {
      try {
        return JSON.parse(fs.readFileSync(file, 'utf8'))?.type === 'module';
      } catch (error) {
        console.warn(`${file} cannot be read, it will be ignored for ES module detection purposes.`, error);
        return false;
      }
    }
    if (at === path.dirname(at)) return false;
  }
  return false;
}

async function loadModule(root, folder, name) {
  const base = path.resolve(root, folder, name);
  const is = (file) => fs.statSync(file, { throwIfNoEntry: false })?.isFile();
  if (is(base)) return require(base);
  if (is(base + '.js')) {
    return isModuleFolder(path.dirname(base)) ? import(pathToFileURL(base + '.js')) : require(base + '.js');
  }
  if (is(base + '.mjs')) return import(pathToFileURL(base + '.mjs'));
  if (is(base + '.cjs')) return require(base + '.cjs');
  return require(require.resolve(name, { paths: [root, path.join(root, folder)] }));
}

/** Find a handler by its name, `folder/file.export` or `file.outer.inner`. */
async function loadHandler(root, handler) {
  if (handler.includes('..')) {
    throw new Fault('MalformedHandlerName', `'${handler}' is not a valid handler name. Use absolute paths when ` +
      'specifying root directories in handler names.');
  }
  const file = path.basename(handler);
  const dot = file.indexOf('.');
  if (dot < 0) throw new Fault('MalformedHandlerName', 'Bad handler');
  const folder = handler.slice(0, handler.length - file.length);
  let loaded;
  try {
    loaded = await loadModule(root, folder, file.slice(0, dot));
  } catch (error) {
    if (error instanceof SyntaxError) throw new Fault('UserCodeSyntaxError', error);
    if (error?.code === 'MODULE_NOT_FOUND') throw new Fault('ImportModuleError', error);
    throw error;
  }
  const keys = file.slice(dot + 1).split('.');
  const find = (from) => keys.reduce((object, key) => object?.[key], from);
  const found = find(loaded) ?? find(loaded?.default);
  if (!found) throw new Fault('HandlerNotFound', `${handler} is undefined or not exported`);
  if (typeof found !== 'function') throw new Fault('HandlerNotFound', `${handler} is not a function`);
  if (major >= CALLBACKS_UNTIL && found.length >= 3 && !found[STREAMS]) {
    throw new Fault('CallbackHandlerDeprecated', 'ERROR: AWS Lambda has removed support for callback-based function ' +
      'handlers starting with Node.js 24. You need to modify this function to use a supported handler signature to ' +
      'use Node.js 24 or later. For more information see ' +
      'https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html.');
  }
  return found;
}

/** Take on a function's environment variables, working directory and module path. */
function become(claim) {
  if (claim.env) {
    for (const name of Object.keys(process.env)) delete process.env[name];
    Object.assign(process.env, claim.env);
  }
  process.chdir(claim.task_root);
  Module._initPaths(); // NODE_PATH was read when this process started, maybe for no function at all
  // The heap's own limit was set for a larger function: collect earlier where memory is small.
  const memoryMb = Number(process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE);
  if (memoryMb <= 256) v8.setFlagsFromString('--heap-growing-percent=25');
  else if (memoryMb <= 512) v8.setFlagsFromString('--heap-growing-percent=50');
}

// ---- one invocation ------------------------------------------------------------------------------------------------

let handler;
let channel;
let current; // the Call that runs now
let whenEmpty = () => {}; // what happens when the event loop has nothing left to do

/** One event's way from the INVOKE frame to exactly one answer. */
class Call {
  constructor(body) {
    const size = body.readUInt32BE(0);
    this.header = JSON.parse(body.utf8Slice(4, 4 + size));
    this.event = body.utf8Slice(4 + size);
    this.settled = false; // the handler has said how it ended
    this.answered = false;
    this.waits = true; // for an empty event loop, after a callback
  }

  run() {
    requestId = this.header.id;
    if (this.header.trace_id) process.env._X_AMZN_TRACE_ID = this.header.trace_id;
    else delete process.env._X_AMZN_TRACE_ID;
    // A handler that never answers, in a loop with nothing left to wait for, has answered null.
    whenEmpty = () => this.succeed(null);
    if (handler[STREAMS]) {
      this.stream();
      return;
    }
    try {
      const result = handler(JSON.parse(this.event), this.context(), (error, value) => this.callback(error, value));
      if (typeof result?.then === 'function') {
        result.then((value) => this.succeed(value), (error) => this.fail(error));
      } else if (major >= CALLBACKS_UNTIL) {
        this.succeed(result);
      }
    } catch (error) {
      this.fail(error);
    }
  }

  /** Run a handler that writes its response: the call ends when both the handler and the stream have. */
  async stream() {
    const stream = new ResponseStream(this.header.id, handler[HIGH_WATER_MARK]);
    whenEmpty = () => this.fail('Response stream is not finished.');
    try {
      const context = this.context();
      for (const name of ['succeed', 'fail', 'done']) delete context[name];
      const result = handler(JSON.parse(this.event), stream, context);
      if (typeof result?.then !== 'function') throw 'Streaming does not support non-async handlers.';
      if ((await result) !== undefined) console.warn('Streaming handlers ignore return values.');
      await new Promise((resolve, reject) => finished(stream, (error) => (error ? reject(error) : resolve())));
      if (this.settled) return;
      this.settled = true;
      this.answer(END, Buffer.alloc(0));
    } catch (error) {
      this.fail(error);
      stream.destroy();
    }
  }

  context() {
    const { header } = this;
    const call = this;
    const context = {
      get callbackWaitsForEmptyEventLoop() { return call.waits; },
      set callbackWaitsForEmptyEventLoop(value) { call.waits = value; },
      functionVersion: process.env.AWS_LAMBDA_FUNCTION_VERSION,
      functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
      memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
      logGroupName: process.env.AWS_LAMBDA_LOG_GROUP_NAME,
      logStreamName: process.env.AWS_LAMBDA_LOG_STREAM_NAME,
      clientContext: header.client_context ? JSON.parse(header.client_context) : undefined,
      identity: undefined,
      invokedFunctionArn: header.arn,
      awsRequestId: header.id,
      tenantId: undefined,
      getRemainingTimeInMillis: () => header.deadline_ms - Date.now(),
    };
    if (major < CALLBACKS_UNTIL) {
      context.succeed = (value) => this.succeed(value);
      context.fail = (error) => this.fail(error ?? 'handled');
      context.done = (error, value) => (error === undefined || error === null ? this.succeed(value) : this.fail(error));
    }
    return context;
  }

  callback(error, value) {
    if (this.settled) return;
    if (error !== undefined && error !== null) this.fail(error);
    else if (!this.waits) this.succeed(value);
    else {
      this.settled = true;
      whenEmpty = () => setImmediate(() => this.respond(value));
    }
  }

  succeed(value) {
    if (this.settled) return;
    this.settled = true;
    this.respond(value);
  }

  fail(error) {
    if (this.settled) return;
    this.settled = true;
    this.refuse(error);
  }

  respond(value) {
    let text;
    try {
      text = JSON.stringify(value === undefined ? null : value) ?? 'null';
    } catch {
      this.refuse(new Error('Unable to stringify response body'));
      return;
    }
    // More than the limit is not sent: the worker only has to see that it is over it.
    this.answer(RESULT, Buffer.from(text).subarray(0, RESPONSE_BYTES_MAX + 1));
  }

  refuse(error) {
    logError('Invoke Error', error);
    this.answer(ERROR, Buffer.from(JSON.stringify(describe(error))));
  }

  answer(type, bytes) {
    if (this.answered) return;
    this.answered = true;
    whenEmpty = () => {};
    current = undefined;
    channel.hold();
    channel.send(type, [Buffer.from(this.header.id), bytes]);
  }
}

/** The process cannot go on: tell whoever waits, then end. */
function die(title, error, code) {
  logError(title, error);
  const bytes = Buffer.from(JSON.stringify(describe(error)));
  if (handler === undefined) channel.sendLast(FAILED, [bytes], code);
  else if (current && !current.answered) {
    current.answered = true;
    channel.sendLast(FATAL, [Buffer.from(current.header.id), bytes], code);
  } else process.exit(code);
}

async function onFrame(type, body) {
  if (type === INVOKE && handler) {
    current = new Call(body);
    channel.release();
    current.run();
  } else if (type === CLAIM && handler === undefined) {
    const claim = JSON.parse(body.toString());
    try {
      become(claim);
      const loaded = await loadHandler(claim.task_root, claim.handler);
      handler = loaded;
    } catch (error) {
      die('Uncaught Exception', error, EXIT_UNCAUGHT);
      return;
    }
    channel.send(READY, []);
  } else process.exit(64);
}

const fd = Number(process.env.LAMBENT_CHANNEL_FD ?? 3);
delete process.env.LAMBENT_CHANNEL_FD;
patchConsole();
process.on('uncaughtException', (error) => die('Uncaught Exception', error, EXIT_UNCAUGHT));
process.on('unhandledRejection', (reason, promise) =>
  die('Unhandled Promise Rejection', new UnhandledPromiseRejection(reason, promise), EXIT_UNHANDLED));
process.on('beforeExit', () => whenEmpty());
channel = new Channel(fd, onFrame);
