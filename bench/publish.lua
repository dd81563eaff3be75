-- wrk: publishes DELTA messages to 256 channels in turn.
-- BODY, TOKEN and MODE come from the environment of bench/publish; the body's
-- channel_id is replaced, as it must be the one of the path.

local body = assert(io.open(os.getenv("BODY"), "rb")):read("*a")
local token = os.getenv("TOKEN")
local close = os.getenv("MODE") == "close"
local kind = os.getenv("MODE") == "json" and "json" or "x-protobuf"
local base = "00000000-0000-4000-8000-000000000000"

local requests = {}
local n = 0

function init()
    for i = 0, 255 do
        local channel = string.format("00000000-0000-4000-8000-%012x", i)
        local start = body:find(base, 1, true)
        local own = body:sub(1, start - 1) .. channel
                    .. body:sub(start + #base)

        requests[i] = wrk.format("POST", "/publish/1/" .. channel, {
            ["Host"] = "localhost",
            ["Content-Type"] = "application/" .. kind,
            ["Authorization"] = "Bearer " .. token,
            ["Connection"] = close and "close" or nil,
            ["Content-Length"] = tostring(#own)
        }, own)
    end
end

function request()
    n = (n + 1) % 256
    return requests[n]
end

local failed = 0

function response(status)
    if status ~= 200 then
        failed = failed + 1
        if failed == 1 then
            print("status " .. status)
        end
    end
end
