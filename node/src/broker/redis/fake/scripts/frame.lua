-- What stands between a script and the interpreter: the globals it may read and none it may write, and a call
-- that turns whatever goes wrong into one kind of error. Gets the globals, the function that turns an error
-- into { err = …, line = … }, and the one that makes it text.
local globals, explain, text = ...
local error, xpcall = error, xpcall
local pcall, select, type, tostring = pcall, select, type, tostring

local function read(_, name)
  local value = globals[name]
  if value == nil then
    error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
  end
  return value
end

local function write()
  error('Attempt to modify a readonly table', 2)
end

local function caught(ok, ...)
  if ok then return true, ... end
  return false, text((...))
end

-- A script that catches an error of a command is given its text, not its table.
function globals.pcall(...)
  return caught(pcall(...))
end

local function run(script)
  return xpcall(script, explain)
end

return setmetatable({}, { __index = read, __newindex = write }), run
